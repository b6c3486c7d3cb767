"""Questions to a support desk in many wordings, and a scripted model that answers them.

For the demo and the tests of the semantic cache: which questions have the same answer is known, so
that a wrong answer can be told. The wordings are made of parts by chance, as people's are.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

ANSWERS: dict[str, str] = {
    "password": "Choose 'Forgot password' on the sign-in page; a link comes by mail.",
    "refund": "Refunds are paid within five working days after the parcel is back.",
    "delivery": "Standard delivery takes two to four working days.",
    "invoice": "Invoices are in your account under 'Orders'.",
    "cancel": "Open the order and choose 'Cancel' before it has been sent.",
    "address": "Change the delivery address in your account before the order is sent.",
    "hours": "The hotline is open from 8 to 20 o'clock on working days.",
    "warranty": "Every appliance has a warranty of two years.",
    "voucher": "Enter the voucher's code in the last step of the checkout.",
    "delete": "Close your account under 'Settings', 'Privacy'; it is erased after 30 days.",
}
"""What the scripted model says, by topic."""

WORDINGS: dict[str, tuple[str, ...]] = {
    "password": (
        "how do I reset my password",
        "I forgot my password, what can I do",
        "I cannot sign in because I lost my password",
        "how can I get a new password for my account",
        "my password does not work any more, how do I set a new one",
    ),
    "refund": (
        "when do I get my money back",
        "how long does a refund take",
        "I sent the parcel back, when will I be refunded",
        "how many days until the refund arrives",
        "where is the money for the item I returned",
    ),
    "delivery": (
        "how long does delivery take",
        "when will my parcel arrive",
        "how many days does shipping take",
        "how fast do you ship an order",
        "what is the usual delivery time",
    ),
    "invoice": (
        "where do I find my invoice",
        "I need the bill for my order",
        "can I download the invoice of my purchase",
        "how do I get a copy of the receipt",
        "please send me the invoice for what I bought",
    ),
    "cancel": (
        "how do I cancel my order",
        "I do not want the order any more, how can I stop it",
        "can I cancel what I have just ordered",
        "I ordered by mistake, how do I cancel the order",
        "is it possible to call off my order",
    ),
    "address": (
        "how do I change the delivery address",
        "I have moved, can you send the parcel to my new address",
        "the shipping address of my order is wrong, how do I correct it",
        "can I have the order sent to another address",
        "where can I edit the address for delivery",
    ),
    "hours": (
        "when is the hotline open",
        "until what time can I call you",
        "what are the hours of your telephone support",
        "at what time can I reach somebody by phone",
        "is the hotline open in the evening",
    ),
    "warranty": (
        "how long is the warranty",
        "what is the guarantee on the washing machine",
        "for how many years is my appliance under warranty",
        "is my dishwasher still covered by the guarantee",
        "how many years of warranty do I have",
    ),
    "voucher": (
        "where do I enter a voucher",
        "how can I use my gift card code",
        "I have a discount code, where does it go",
        "how do I redeem a coupon",
        "at which step can I type in the voucher code",
    ),
    "delete": (
        "how do I delete my account",
        "I want to close my account for good",
        "please erase my data and my account",
        "how can I remove my profile",
        "what must I do to have my account deleted",
    ),
}
"""Wordings by topic; no wording is part of another topic's."""

_BEFORE = (
    "",
    "Hello, ",
    "Hi there, ",
    "Good morning. ",
    "Good evening, ",
    "Excuse me, ",
    "Sorry to bother you: ",
    "Quick question: ",
    "One more thing, ",
    "Dear team, ",
    "Could you tell me, ",
    "I was wondering: ",
)
_AFTER = (
    "?",
    ", please?",
    "? Thanks!",
    "? Thank you very much.",
    "? I am in a hurry.",
    "? Kind regards.",
    "? It is urgent.",
    "? I looked everywhere.",
    "? Many thanks in advance.",
    "? Best wishes.",
)


@dataclass(frozen=True, slots=True)
class Question:
    """One question.

    Attributes:
        topic: those of one topic have the same answer.
        text: as somebody words it.
    """

    topic: str
    text: str

    @property
    def answer(self) -> str:
        """What is right."""
        return ANSWERS[self.topic]


def questions(seed: int) -> Iterator[Question]:
    """Questions in an order made by chance, no two of the same wording."""
    made = [
        Question(topic, f"{before}{wording}{after}")
        for topic, wordings in WORDINGS.items()
        for wording in wordings
        for before in _BEFORE
        for after in _AFTER
    ]
    random.Random(seed).shuffle(made)
    yield from made


def script() -> dict[str, object]:
    """What `tools.simulator` answers: the topic of the wording in a question decides."""
    usage = {"input": 60, "output": 25}
    rules = [
        {"when": {"prompt": wording}, "answer": {"text": ANSWERS[topic], "usage": usage}}
        for topic, wordings in WORDINGS.items()
        for wording in wordings
    ]
    fallback = {"text": "I do not know; a colleague will write to you.", "usage": usage}
    return {"answer": fallback, "rules": rules}


def documents(simulator_url: str, semantic: dict[str, object]) -> list[dict[str, object]]:
    """Resources of a tenant `support` whose model is the scripted one.

    Args:
        simulator_url: where it listens.
        semantic: the block `semantic` of its cache policy.
    """
    price = {"source": "demo", "input": "2.5", "output": "10"}
    specs: tuple[tuple[str, str, dict[str, object]], ...] = (
        ("Provider", "support", {"protocol": "openai", "baseUrl": f"{simulator_url}/v1"}),
        (
            "Model",
            "support-desk",
            {
                "provider": "support",
                "upstreamModel": "support-desk",
                "capabilities": ["chat"],
                "contextTokens": 128000,
                "pricing": {"overlay": price},
            },
        ),
        ("CachePolicy", "support", {"semantic": semantic}),
        ("Tenant", "support", {"cachePolicy": "support", "allowedModels": ["support-desk"]}),
    )
    return [
        {
            "apiVersion": "infermesh.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        for kind, name, spec in specs
    ]
