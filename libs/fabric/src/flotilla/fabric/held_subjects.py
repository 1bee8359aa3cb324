"""
How many messages a stream holds on each subject, without a list that nobody has room for.

A subject may have 4 KB, and the server tells all of them in one message: of a stream to which strangers may publish on any
subject, a full list would be hundreds of MB. So it is asked first on how many the stream holds any.
"""

from collections.abc import Iterable
from typing import Final

from flotilla.fabric.inbox import Requests
from flotilla.fabric.stream_usage import StreamUsage, held_by, subjects_holding, usage_by_subject

LISTED_MAX: Final = 512


class HeldSubjects:
    """What a stream holds by subject, for whoever asks again and again: it is listed only when it has changed."""

    def __init__(self, requests: Requests, stream: str, pattern: str) -> None:
        self._requests = requests
        self._stream = stream
        self._pattern = pattern
        self._usage: StreamUsage | None = None
        self._held: dict[str, int] = {}

    async def now(self) -> dict[str, int] | None:
        """
        How many messages it holds on each subject that matches; None where it holds some on more than LISTED_MAX.

        Raises:
            TopologyError: There is no such stream, or the server refused.
            FabricError: No answer.
        """
        usage = await held_by(self._requests, self._stream)
        if usage.subjects > LISTED_MAX:
            return None
        # Every message that is stored has a higher sequence, and every one that goes makes them fewer.
        if usage != self._usage:
            # What came since is in the list too: it is kept with what the stream held when it was made.
            self._usage, self._held = (
                await usage_by_subject(self._requests, self._stream, self._pattern) if usage.messages else (usage, {})
            )
        return dict(self._held)


async def few_subjects_holding(requests: Requests, stream: str, pattern: str) -> dict[str, int] | None:
    """See `HeldSubjects.now`."""
    return await HeldSubjects(requests, stream, pattern).now()


async def count_of_each(requests: Requests, stream: str, subjects: Iterable[str]) -> dict[str, int]:
    """How many messages a stream holds on these subjects, which have no wildcards; a request for each."""
    found: dict[str, int] = {}
    for subject in subjects:
        found |= await subjects_holding(requests, stream, subject)
    return found
