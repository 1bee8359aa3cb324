"""How busy the machine was with other things: what tells a reader whether figures may be trusted."""

import os
import time
from typing import Final

from flotilla.cli.bench.figures import PERCENT, Figure
from flotilla.cli.bench.processes import cpu_s, machine_busy_s
from flotilla.cli.bench.stage import Stage

NAME: Final = "machine"


class OtherLoad:
    """CPU time of everything but the stage, from the moment it is made."""

    def __init__(self, stage: Stage) -> None:
        self._pids = {**stage.pids, **stage.raw_pids}
        self._cpus = os.cpu_count() or 1
        self._began = time.perf_counter()
        self._others_s = self._now_s()

    def figures(self) -> list[Figure]:
        """The share of the machine's CPUs that others used since."""
        elapsed_s = time.perf_counter() - self._began
        share = (self._now_s() - self._others_s) / (elapsed_s * self._cpus)
        return [
            Figure(
                measurement=NAME,
                name="CPU used by other processes",
                value=max(0.0, share) * PERCENT,
                unit="%",
                note=f"of {self._cpus} CPUs; ratios are of little use when it is high",
            )
        ]

    def _now_s(self) -> float:
        return machine_busy_s() - sum(cpu_s(self._pids).values())
