"""AnswerComparer: whether two answers say the same."""

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np

from infermesh_cache.domain.answers import (
    NotAnAnswer,
    digest,
    exact_form,
    json_form,
    normalised_form,
    numeric_form,
    said,
)
from infermesh_cache.domain.semantic_policy import SemanticRules
from infermesh_cache.learning_ports import AnswerComparer, AnswerJudge
from infermesh_cache.semantic_ports import EmbeddingEngine
from infermesh_common.errors import FailedPrecondition

_FORMS: dict[str, Callable[[str], str]] = {
    "exact": exact_form,
    "normalised": normalised_form,
    "numeric": numeric_form,
    "json": json_form,
}


class FormComparer:
    """Implements `AnswerComparer`: answers of one form are the same.

    Args:
        form: of the text of an answer.
    """

    def __init__(self, form: Callable[[str], str]) -> None:
        self._form = form

    async def same(self, left: bytes, right: bytes, question: str) -> bool:
        """See `AnswerComparer.same`."""
        return self.identity(left) == self.identity(right)

    def identity(self, body: bytes) -> str:
        """See `AnswerComparer.identity`."""
        try:
            return digest(self._form(said(body)))
        except NotAnAnswer:
            return digest(body.hex())


class _ReadingComparer(ABC):
    """Answers that are equal as normalised are the same; others are read."""

    def __init__(self) -> None:
        self._normalised = FormComparer(normalised_form)

    async def same(self, left: bytes, right: bytes, question: str) -> bool:
        """See `AnswerComparer.same`."""
        if await self._normalised.same(left, right, question):
            return True
        try:
            texts = said(left), said(right)
        except NotAnAnswer:
            return False
        return all(texts) and await self._agree(*texts, question)

    def identity(self, body: bytes) -> str:
        """See `AnswerComparer.identity`."""
        return self._normalised.identity(body)

    @abstractmethod
    async def _agree(self, left: str, right: str, question: str) -> bool:
        """Whether two texts, neither of them empty, say the same."""


class EmbeddingComparer(_ReadingComparer):
    """Implements `AnswerComparer`: answers whose embeddings agree, and whose numbers are equal.

    Args:
        engine: embeds answers.
        agreement: cosine from which two agree.
    """

    def __init__(self, engine: EmbeddingEngine, agreement: float) -> None:
        super().__init__()
        self._engine = engine
        self._agreement = agreement

    async def _agree(self, left: str, right: str, question: str) -> bool:
        if _numbers(left) != _numbers(right):
            return False
        vectors = await self._engine.embed((left, right))
        return bool(np.dot(vectors[0], vectors[1]) >= self._agreement)


class JudgeComparer(_ReadingComparer):
    """Implements `AnswerComparer`: a model reads both, unless they are equal as normalised.

    It is asked in both orders, for models prefer what they read first; one no is a no. Whatever is
    not a clear yes makes the answers different: that costs hits, never errors.

    Args:
        judge: the model.
    """

    def __init__(self, judge: AnswerJudge) -> None:
        super().__init__()
        self._judge = judge

    async def _agree(self, left: str, right: str, question: str) -> bool:
        one = await self._judge.same(question, left, right)
        return one and await self._judge.same(question, right, left)


def _numbers(text: str) -> str:
    return numeric_form(text) if any(c.isdigit() for c in text) else ""


def comparer_of(
    rules: SemanticRules, engine: EmbeddingEngine, judge: AnswerJudge | None
) -> AnswerComparer:
    """The comparison that a policy asks for.

    Args:
        rules: the policy.
        engine: for the comparison that needs one.
        judge: likewise; None where the mesh has none.

    Raises:
        FailedPrecondition: JUDGE_MISSING.
    """
    if rules.comparison == "judge":
        if judge is None:
            raise FailedPrecondition(
                "JUDGE_MISSING", "The policy compares by a judge; the cache's settings name none."
            )
        return JudgeComparer(judge)
    form = _FORMS.get(rules.comparison)
    return FormComparer(form) if form else EmbeddingComparer(engine, rules.agreement)
