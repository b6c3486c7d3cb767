"""Words of English by what they say about what is talked of: nothing, something known, a kind.

They are classes of grammar; none is there for a single question.
"""

POINTERS = frozenset(
    "it its itself they them their theirs themselves he him his himself she her hers herself this "
    "these those ones former latter latters others another same such thereof therein thereby "
    "previous previously above aforementioned mentioned again instead likewise similarly similar "
    "else further".split()
)
"""Words that point at what was said before."""

OPENERS = frozenset(
    "and but or so then also besides plus otherwise however still though because than too yes no "
    "ok okay sure thanks right exactly really oh wow interesting great nice cool hmm well huh "
    "hm ah".split()
)
"""A turn that begins with one of them goes on with something."""

PREPOSITIONS = frozenset(
    "of for in on at to from by with without between among about against into onto over under "
    "through during before after within across behind towards toward via per as like than".split()
)

COMPLEMENT = frozenset(
    "of for in on at to from by with between among against into within behind that which who "
    "when where whose during through across for".split()
)
"""Words that begin what makes a definite noun phrase say which one it means."""

AUXILIARIES = frozenset(
    "is are was were be been being am do does did done have has had can could will would shall "
    "should may might must isn't aren't wasn't weren't don't doesn't didn't can't won't".split()
)

FUNCTION = (
    PREPOSITIONS
    | AUXILIARIES
    | frozenset(
        "a an the i me my mine we us our ours you your yours and or but if because while that not "
        "no nor very too also just only even ever never always often usually sometimes still yet "
        "some any all each every both either neither few many much more most several lot lots "
        "what which who whom whose when where why how there here now then please up out off down "
        "let lets get got im ive id whats hows wheres whos s t re ve ll d m".split()
    )
)

ASKING = frozenset("what which who whom whose when where why how".split())

EXPLETIVE = frozenset(
    "take mean cost possible safe ok okay legal illegal good bad hard easy better normal worth "
    "necessary important true wise difficult healthy wrong right make".split()
)
"""After "it" and before "to" or "that" they make it point forward."""

TWO_SIDED = frozenset(
    "compare compares differ differs different similar related relate help helps better worse "
    "difference differences similarity similarities comparison".split()
)
"""At the end of a turn they want another side, or a purpose."""

SIDES = frozenset("than between with from to vs versus and or".split())
"""Words that name the other side."""

RELATIONS = frozenset(
    "impact impacts effect effects influence implications implication relationship relation "
    "relevance difference differences similarity connection contribution".split()
)
"""Nouns between two things; followed by the second only, the first is taken for known."""

UNIQUE = frozenset(
    "world earth sun moon sky sea ocean universe internet web president government police law "
    "weather future past present us usa uk eu un west east north south middle beginning end "
    "public media economy environment human body brain heart bible church army time".split()
)
"""Things of which there is one, so that "the" points at nothing said before."""

GENERIC = frozenset(
    # Verbs that take what they are about from elsewhere.
    "tell explain describe show give list name define compare contrast discuss summarize summarise "
    "elaborate talk know say mean means meaning make makes made making take takes took use uses "
    "used using work works worked working happen happens happened find found help helps need needs "
    "needed want wants like look looks go goes went going come comes came become see "
    "think try keep "
    "put set call called cause causes caused affect affects affected begin began start started "
    "stop stopped end ended change changed changes differ differs relate related compared cost "
    "costs last lasts occur occurs include includes included involve involves involved consider "
    "considered recommend recommended provide lead leads contain contains choose chosen create "
    "created form formed develop developed write wrote written spread caught catch buy sell sells "
    "selling sold pay increase increased decrease reduce prevent avoid treat treated diagnose "
    "fix fixed replace replacing repair eat drink live lived die died born grow found founded "
    "win won lose lost play played build built run runs invent invented discover discovered "
    "perform performed test tested measure measured improve improved "
    # Nouns that are of something.
    "thing things way ways kind kinds type types sort sorts form forms example examples part parts "
    "piece reason reasons cause effect effects impact impacts influence role roles purpose goal "
    "goals function functions feature features characteristic characteristics property properties "
    "advantage advantages disadvantage disadvantages benefit benefits pro pros con cons risk risks "
    "danger dangers problem problems issue issues concern concerns challenge challenges symptom "
    "symptoms sign signs treatment treatments cure cures therapy remedy remedies side prevention "
    "diagnosis complication complications difference differences similarity similarities "
    "comparison relationship relation connection origin origins history background source sources "
    "definition meaning description detail details information info fact facts idea ideas theory "
    "theories concept concepts theme themes topic topics method methods technique techniques "
    "process processes procedure step steps stage stages phase phases approach strategy strategies "
    "tool tools option options alternative alternatives choice choices variety varieties brand "
    "brands model models version versions category categories class level levels amount number "
    "numbers size length weight height age price prices value rate rates percentage average salary "
    "degree requirement requirements qualification qualifications skill skills ingredient "
    "ingredients component components element elements factor factors aspect aspects result "
    "results outcome outcomes finding findings conclusion conclusions evidence study studies "
    "research experiment experiments story plot character characters author authors creator "
    "founder leader members member people person someone anyone everyone place places location "
    "country countries city cities area areas region regions year years month months week weeks "
    "day days hour hours minute minutes time times period era date event events name names word "
    "words question questions answer answers response rest group groups team system systems "
    "structure pattern patterns case cases situation condition conditions rule rules limit limits "
    "success failure importance significance popularity career job jobs life death "
    # Adjectives and adverbs.
    "good better best bad worse worst great big bigger biggest large larger largest small smaller "
    "smallest long longer longest short shorter shortest high higher highest low lower lowest old "
    "older oldest young younger youngest new newer newest first second third last next early "
    "earlier late later fast faster fastest slow cheap cheaper cheapest expensive easy "
    "easier easiest "
    "hard harder hardest strong safe dangerous healthy important main major minor key common "
    "popular famous different other various certain specific general typical normal modern "
    "traditional current recent available possible real true known well-known effective useful "
    "necessary required natural naturally typically generally usually mainly today currently "
    "originally far away back around together deep quickly own able worth interesting total "
    "basic several single whole full potential biological physical chemical social".split()
)
"""Words that do not say by themselves what is talked of."""

OPEN_HEADS = frozenset(
    "kind kinds type types sort sorts variety varieties brand brands model models version versions "
    "option options one ones breed species method methods part parts".split()
)
"""After "which" or "what" and without a complement they ask about one of something known."""

REVISIONS = frozenset(
    "rewrite rephrase reword redo retry repeat continue shorten lengthen expand elaborate simplify "
    "summarize summarise translate convert reformat revise improve fix correct clarify proceed "
    "undo add remove change replace explain".split()
)
"""What one asks to be done with what was said; without an object of their own they lean."""

OWN_WORK = frozenset(
    "answer answers response responses solution reply explanation code output result summary list "
    "essay poem story email text version suggestion".split()
)
"""After "your" or "the" they are what was answered before."""
