"""What can be wrong with the edge's parameters."""

from collections.abc import Sequence


class ParameterError(ValueError):
    """Parameters that no bootstrap can be made of.

    Args:
        problems: one sentence each, beginning with the name of the parameter.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = tuple(problems)
