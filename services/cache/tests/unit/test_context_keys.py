"""Which requests share a key's exact part, and which never do."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from infermesh_cache.domain.context.engine import ContextualEmbeddingEngine, ContextualKey

QUESTION = "How do I reset the password of my router?"
SHARKS = ["What are sharks?", "Fish with a skeleton of cartilage."]
CANCER = ["What is throat cancer?", "A tumour of the larynx."]


def body_of(
    question: object, history: list[str] | None = None, **fields: object
) -> dict[str, object]:
    roles = ("user", "assistant")
    turns: list[object] = [
        {"role": roles[place % 2], "content": text} for place, text in enumerate(history or [])
    ]
    return {"model": "m", "messages": [*turns, {"role": "user", "content": question}], **fields}


def key_of(
    body: dict[str, object],
    *,
    tenant: str = "acme",
    models: tuple[str, ...] = ("small",),
    epoch: int = 0,
    bind_every_history: bool = False,
) -> ContextualKey:
    engine = ContextualEmbeddingEngine(bind_every_history=bind_every_history)
    key = engine.key(tenant, body, protocol="openai.chat", models=models, epoch=epoch)
    assert key is not None
    return key


def context_of(question: object, history: list[str] | None = None) -> str:
    return key_of(body_of(question, history)).context


def test_other_words_of_one_question_share_the_exact_part() -> None:
    one = key_of(body_of(QUESTION))
    other = key_of(body_of("My router's password: how is it reset?"))
    assert one.context == other.context
    assert one.text != other.text


def test_how_an_answer_is_delivered_does_not_matter() -> None:
    delivered = body_of(QUESTION, stream=True, user="u-1")
    assert key_of(delivered).context == context_of(QUESTION)


SYSTEM = {"role": "system", "content": "Be brief."}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [TOOL]},
        {"response_format": {"type": "json_object"}},
        {"temperature": 0.7},
        {"seed": 1},
        {"max_tokens": 5},
        {"some_new_parameter": 1},
    ],
    ids=str,
)
def test_what_may_change_the_answer_is_in_the_exact_part(fields: dict[str, object]) -> None:
    assert key_of({**body_of(QUESTION), **fields}).context != context_of(QUESTION)


def test_tenant_models_epoch_and_instructions_are_in_the_exact_part() -> None:
    body = body_of(QUESTION)
    instructed: dict[str, object] = {"messages": [SYSTEM, {"role": "user", "content": QUESTION}]}
    contexts = {
        key_of(body).context,
        key_of(body, tenant="globex").context,
        key_of(body, models=("large",)).context,
        key_of(body, models=("small", "large")).context,
        key_of(body, epoch=1).context,
        key_of(instructed).context,
    }
    assert len(contexts) == 6
    assert key_of(body, models=("a", "b")).context == key_of(body, models=("b", "a")).context


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Is it open in 2 days?", "Is it open in 20 days?"),
        ("Is it open in two days?", "Is it open in three days?"),
        ("Convert 5 kg", "Convert 5 lb"),
        ("Convert 3 to 5", "Convert 5 to 3"),
        ("It costs $5", "It costs €5"),
        ("Is -5 cold?", "Is 5 cold?"),
        ("Write about cats in French", "Write about cats in German"),
        ("List the planets as JSON", "List the planets as YAML"),
        ("Sort a list in Python", "Sort a list in Rust"),
        ("Sort a list in C++", "Sort a list in C#"),
        ("What does `ls -a` do?", "What does `ls -l` do?"),
        ('Translate "cat"', 'Translate "dog"'),
        ("Summarise https://a.example/x", "Summarise https://a.example/y"),
        ("Who is ann@a.example?", "Who is bob@a.example?"),
        ("Read /etc/passwd for me", "Read /etc/hosts for me"),
        ("Decode " + "QUJD" * 20, "Decode " + "REVG" * 20),
        ("I feel 😀", "I feel 😡"),
        ("ما هي عاصمة مصر", "ما هي عاصمة العراق"),
        ("日本の首都は", "中国の首都は"),
    ],
)
def test_what_vectors_hardly_see_is_in_the_exact_part(one: str, other: str) -> None:
    assert context_of(one) != context_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Is it open in two days?", "In 2 days, is it open?"),
        ("Wait 1,000 ms", "Wait 1000 ms"),
        ("It takes 5 days", "Does it take 5 day"),
        ("hello   world", "hello world"),
    ],
)
def test_ways_to_write_the_same_number_are_one(one: str, other: str) -> None:
    assert context_of(one) == context_of(other)


def test_languages_are_kept_apart() -> None:
    german = "Wie kann ich mein Passwort ändern und ist das sicher?"
    french = "Comment puis-je changer mon mot de passe dans les options ?"
    assert len({context_of(QUESTION), context_of(german), context_of(french)}) == 3


def test_the_end_of_a_text_too_long_for_the_model_is_in_the_exact_part() -> None:
    text = "A sentence about nothing much at all. " * 100
    one, other = key_of(body_of(text + "Yes?")), key_of(body_of(text + "No?"))
    assert one.context != other.context
    assert "overlong" in one.flags


def test_images_are_in_the_exact_part() -> None:
    def with_image(url: str) -> list[object]:
        image = {"type": "image_url", "image_url": {"url": url}}
        return [{"type": "text", "text": "What does the picture of a cat show?"}, image]

    one, other = (key_of(body_of(with_image(url))) for url in ("data:a", "data:b"))
    assert one.context != other.context and "attached" in one.flags
    parts = [{"type": "text", "text": QUESTION}]
    assert context_of(parts) == context_of(QUESTION)


@pytest.mark.parametrize(
    "turn",
    [
        "Is it treatable?",
        "And the second one?",
        "What about their symptoms?",
        "What are the symptoms?",
        "Why?",
        "Rewrite your previous response.",
        "Explain in more detail",
        "In the US?",
        "What is the largest ever found?",
        "Und wie lange dauert das bei mir?",
        "它怎么治疗",
    ],
)
def test_a_turn_that_leans_hits_only_after_the_same_history(turn: str) -> None:
    after_sharks, after_cancer = (key_of(body_of(turn, h)) for h in (SHARKS, CANCER))
    assert after_sharks.leans
    assert after_sharks.context != after_cancer.context
    assert after_sharks.context == context_of(turn, SHARKS)
    assert after_sharks.context != context_of(turn)
    assert after_sharks.context != context_of(turn, [SHARKS[0], "Large fish."])
    assert after_sharks.text == turn


@pytest.mark.parametrize(
    "turn",
    [
        "What is the capital of France?",
        "How does photosynthesis work in plants?",
        "My parcel has not arrived. Where is it?",
        "Is it safe to eat raw salmon?",
        "Tell me about the French Revolution.",
        "Which river is the longest?",
        "In general, how much sleep do teenagers need?",
        "What are the pros and cons of electric cars?",
    ],
)
def test_a_turn_that_stands_alone_hits_after_any_history(turn: str) -> None:
    assert context_of(turn, SHARKS) == context_of(turn, CANCER) == context_of(turn)


def test_histories_that_differ_in_case_and_punctuation_only_are_one() -> None:
    again = ["what are SHARKS", SHARKS[1]]
    assert context_of("Is it big?", again) == context_of("Is it big?", SHARKS)
    numbers = [["Take 1.5 pills", "ok"], ["Take 15 pills", "ok"]]
    assert context_of("Is it safe?", numbers[0]) != context_of("Is it safe?", numbers[1])


def test_every_turn_can_be_bound_to_its_history() -> None:
    sharks, cancer = (
        key_of(body_of(QUESTION, h), bind_every_history=True) for h in (SHARKS, CANCER)
    )
    assert sharks.context != cancer.context
    assert key_of(body_of(QUESTION), bind_every_history=True).context == context_of(QUESTION)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"messages": []},
        {"messages": "text"},
        {"messages": [3]},
        {"messages": [{"role": "user", "content": "  \n"}]},
        {"messages": [{"role": "user", "content": 3}]},
        {"messages": [{"role": 3, "content": "a"}]},
        {"messages": [SYSTEM]},
        {"messages": [{"role": "user", "content": "a"}, {"role": "tool", "content": "b"}]},
        {"messages": [{"role": "user", "content": "a"}], "tools": object()},
        {"messages": [{"role": "user", "content": "a"}], "stop": "\ud800"},
    ],
)
def test_what_is_not_a_users_question_has_no_key(body: dict[str, object]) -> None:
    key = ContextualEmbeddingEngine().key("acme", body, protocol="p", models=["m"], epoch=0)
    assert key is None


@given(st.text(), st.lists(st.text(), max_size=3))
def test_any_text_has_one_key_or_none(question: str, history: list[str]) -> None:
    keys = [
        ContextualEmbeddingEngine().key(
            "acme", body_of(question, history), protocol="p", models=["m"], epoch=0
        )
        for _ in range(2)
    ]
    assert keys[0] == keys[1]
    assert (keys[0] is None) == (not question.strip())


def test_a_megabyte_is_looked_at_in_part() -> None:
    for text in ("a" * 1_048_576, "word " * 209_715, "😀" * 262_144, "1 " * 524_288):
        assert "overlong" in key_of(body_of(text, SHARKS)).flags
