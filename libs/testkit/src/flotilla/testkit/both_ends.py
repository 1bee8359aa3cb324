"""
Which process of a test run gets which file: most begin with the first, one of six with the last.

The files in front start fleets and wait for them; those at the end compute. In one order, the processors idle while every
process waits, and are fought for later. From both ends, one process computes while the others wait. It is not through with
those at the end before the others come to them, so the files that are left for the last seconds are short.
"""

from typing import Final

import pytest
from xdist.remote import Producer  # pyright: ignore[reportMissingTypeStubs]
from xdist.scheduler import LoadFileScheduling  # pyright: ignore[reportMissingTypeStubs]
from xdist.workermanage import WorkerController  # pyright: ignore[reportMissingTypeStubs]

ONE_OF: Final = 6


class FromBothEnds(LoadFileScheduling):
    """As `--dist loadfile`, but for the end that a process takes its files from."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        if takes_from_the_end(str(node.gateway.id)):  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)


def takes_from_the_end(worker: str) -> bool:
    """Whether a worker of xdist, `gw0` and on, is one of those that begin with the last file."""
    number = worker.removeprefix("gw")
    return number.isdigit() and int(number) % ONE_OF == 1


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """
    From both ends, where files are handed out in the order of their names: `--dist loadfile --no-loadscope-reorder`.
    """
    if config.option.dist == "loadfile" and not config.option.loadscopereorder:
        return FromBothEnds(config, log)
    return None
