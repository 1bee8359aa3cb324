"""
Tasks that replicas may have died of. Pure.

An attempt that is lost while its replica comes into trouble counts against the task until it is known how the replica
fared. A task is given to another replica only while deaths and undecided losses are fewer than DEATHS_MAX; at so many
deaths it is given up.
"""

from collections.abc import Mapping
from typing import Final, Literal

from orchestrator.execution.run_state import RunState
from orchestrator.state.replica_states import Replica, Standing

DEATHS_MAX: Final = 3
"""So many replicas may die of a task, or be in danger of it at a time."""
ALONE_FROM: Final = DEATHS_MAX - 1
"""After so many deaths and undecided losses a task is tried while no other such task is (`isolation.py`)."""

Danger = Literal["none", "wait", "poison"]


def goes_alone(run: RunState) -> bool:
    """Whether its next try is not to be beside that of another such task."""
    return run.deaths + len(run.losses) >= ALONE_FROM


def losses_left(run: RunState) -> int:
    """How many replicas may still die of the task, and so have it at a time."""
    return DEATHS_MAX - run.deaths - len(run.losses)


def deaths_to_tell(run: RunState) -> int:
    """
    For whoever gets the task next: the deaths, and the losses that may have been some.

    Those not being certain, they leave the task one more try.
    """
    return max(run.deaths, min(run.deaths + len(run.losses), DEATHS_MAX - 1))


def weigh_losses(run: RunState, standings: Mapping[Replica, Standing]) -> None:
    """
    Count the losses that were deaths, and drop those that were none: every suspect is well again.

    A loss is one death, however many replicas went with it: a node that dies takes some along that never saw the task.
    """
    undecided: list[frozenset[Replica]] = []
    for suspects in run.losses:
        if any(standings[replica] == "gone" for replica in suspects):
            run.deaths += 1
            continue
        left = frozenset(replica for replica in suspects if standings[replica] != "well")
        if left:
            undecided.append(left)
    run.losses = undecided


def danger_of(run: RunState) -> Danger:
    """Whether the task may be given to one more replica; `wait` while it is not known whether some have died of it."""
    if run.deaths >= DEATHS_MAX:
        return "poison"
    return "wait" if run.deaths + len(run.losses) >= DEATHS_MAX else "none"
