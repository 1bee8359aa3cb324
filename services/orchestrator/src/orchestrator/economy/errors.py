"""Why an attempt may not be made now."""

from typing import Final

RECHECK_S: Final = 0.25
"""A limit whose time is not known is looked at again after so long."""


class OverLimitError(Exception):
    """
    A limit or budget has no room for an attempt.

    Attributes:
        free_in_s: When it may have room again, as far as is known.
        why: In the words of results and explanations.
    """

    def __init__(self, why: str, free_in_s: float) -> None:
        super().__init__(why)
        self.why = why
        self.free_in_s = free_in_s


class CountersAwayError(Exception):
    """The stream of the counters does not answer, or refuses."""
