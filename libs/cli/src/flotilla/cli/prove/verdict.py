"""What a run came to: proven, or why not. Pure."""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from flotilla.cli.prove.places import TASK_STREAM, VAULTS
from flotilla.cli.prove.watch import Sight

OK: Final = "ok"
LEAK: Final = "leak"
DEAF: Final = "nothing heard"


class Run(Struct, frozen=True, kw_only=True):
    """
    What was done and seen.

    Attributes:
        documents: Letters sent, of `wanted`.
        served: Restricted tasks that went well.
        decoys_served: Decoys that a cloud pool has served; `decoys_heard` are those that were heard on their way.
        interrupted: Whether the connection that listens was lost for a moment.
        left: Tasks whose traces could not be removed.
        unread: Metrics endpoints that could not be read.
        vaults_wanted: Something was redacted, and whoever runs it named where the vaults lie.
        untried: Why no document of a capability went anywhere, of those that were named.
        ends: How tasks ended, by the way that they went.
    """

    wanted: int
    documents: int
    served: int
    decoys_served: int
    decoys_heard: int
    interrupted: bool
    left: int
    elapsed_s: float
    ends: Mapping[str, Mapping[str, int]]
    sights: Sequence[Sight]
    unread: Sequence[str] = ()
    untried: Mapping[str, str] = {}
    vaults_wanted: bool = False


def status_of(sight: Sight) -> str:
    """A place's own verdict."""
    if sight.leaks:
        return LEAK
    return DEAF if sight.place == TASK_STREAM and not sight.at_home else OK


def faults(run: Run) -> list[str]:
    """
    Why nothing is proven, the worst first; empty when it is.

    That nothing was seen proves something only where it would have been seen: the task stream must have held canaries, and
    what a cloud pool has served must have been heard on its way there.
    """
    found = [
        f"leak: {sight.place}: {sight.leaks:,} with a canary that must not be there"
        for sight in run.sights
        if sight.leaks
    ]
    if any(status_of(sight) == DEAF for sight in run.sights):
        found.append("deaf: the tasks themselves were not heard; are these the credentials of the fleet's admin?")
    if run.decoys_heard < run.decoys_served:
        found.append(
            f"deaf: cloud pools served {run.decoys_served:,} decoys, and {run.decoys_heard:,} were heard on their way"
        )
    if run.vaults_wanted and not any(sight.messages for sight in run.sights if sight.place == VAULTS):
        found.append("deaf: nothing was written to vaults in the folder that was named; is it JetStream's own?")
    if run.unread:
        found.append(f"deaf: metrics could not be read at {', '.join(run.unread)}")
    found += [f"not tried: no document of {name} went anywhere ({why})" for name, why in sorted(run.untried.items())]
    if run.interrupted:
        found.append("interrupted: the connection was lost, and what passed meanwhile was not heard; try again")
    if run.documents < run.wanted:
        found.append(
            f"unfinished: {run.documents:,} of {run.wanted:,} documents before the time was over; give it --timeout-s"
        )
    if not run.served:
        found.append("nothing done: no restricted task was served; `flotilla status` shows what the local pools can do")
    return found
