"""
What the streams and buckets of an account have taken in since a moment, message by message: every one that there is.

What is heard on its way is not all: a copy may be stored by another name, and in the sealed lane nobody hears anything.
"""

from collections.abc import Mapping
from typing import Final

from flotilla.cli.prove.places import (
    CACHE,
    Watched,
    beside_any_original,
    beside_kept_output,
    beside_original,
    beside_output,
    nothing,
)
from flotilla.cli.prove.watch import Watch
from flotilla.contracts import subjects
from flotilla.fabric.errors import FabricError
from flotilla.fabric.inbox import Requests
from flotilla.fabric.stored import between
from flotilla.fabric.stream_usage import sequences
from flotilla.provisioning.topology import topology

Marks = Mapping[str, int]
"""By stream, the last sequence that it had."""


def _rules(scope: str, *, sealed: bool) -> dict[str, Watched]:
    """What of a store's messages must hold no canary, where it is not everything."""
    return {
        subjects.tasks_stream(scope): nothing,
        subjects.suspended_stream(scope): nothing,
        subjects.results_stream(scope): beside_output,
        subjects.steps_stream(scope): beside_kept_output,
        subjects.dead_stream(scope): beside_any_original if sealed else beside_original,
    }


async def marked(requests: Requests, scope: str) -> Marks:
    """Where every store of a scope and of the fleet ends now; one that nobody has made yet begins at its beginning."""
    marks: dict[str, int] = {}
    for config in topology((scope,)):
        try:
            marks[config.name] = (await sequences(requests, config.name))[1]
        except FabricError:
            marks[config.name] = 0
    return marks


async def look_into(
    requests: Requests, scope: str, marks: Marks, watch: Watch, place: str, *, sealed: bool = False
) -> None:
    """
    See what was stored since, as of one place; what the result cache holds as its own.

    Raises:
        FabricError: A store that is there cannot be read: then nothing is proven.
    """
    rules = _rules(scope, sealed=sealed)
    cache = subjects.bucket_stream(subjects.cache_bucket(scope))
    for stream, mark in marks.items():
        try:
            first, last = await sequences(requests, stream)
        except FabricError:
            if mark:
                raise
            continue  # nobody has made it yet
        async for message in between(requests, stream, ">", from_sequence=max(1, first, mark + 1), before=last + 1):
            beside = message.subject.encode() + (message.raw_headers or b"")
            if stream == cache:
                watch.see(CACHE, message.body, beside=beside)
                continue
            is_input = stream == subjects.steps_stream(scope) and _APPROVAL in message.subject
            rule = nothing if is_input else rules.get(stream, bytes)
            watch.see(place, rule(message.body), beside=beside)


_APPROVAL: Final = ".approval."
