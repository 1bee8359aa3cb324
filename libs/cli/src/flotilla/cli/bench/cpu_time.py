"""CPU time per task of every process that takes part, summed over rounds."""

from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from flotilla.cli.bench.figures import Figure
from flotilla.cli.bench.processes import cpu_s

US_PER_S: Final = 1_000_000


class CpuTime:
    """
    CPU time of processes while blocks run.

    Attributes:
        tasks: Done in those blocks; the caller counts them.
    """

    def __init__(self, pids: Mapping[str, Sequence[int]]) -> None:
        self._pids = pids
        self._spent_s: defaultdict[str, float] = defaultdict(float)
        self.tasks = 0

    @contextmanager
    def running(self) -> Generator[None]:
        """
        Count what is spent while the block runs.

        Raises:
            BenchError: A process is gone.
        """
        before = cpu_s(self._pids)
        yield
        for role, after_s in cpu_s(self._pids).items():
            self._spent_s[role] += after_s - before[role]

    def per_task_us(self) -> dict[str, float]:
        """Microseconds per task, by role; empty when no task was done."""
        if not self.tasks:
            return {}
        return {role: spent_s / self.tasks * US_PER_S for role, spent_s in self._spent_s.items()}

    def of_all_us(self) -> float:
        """Microseconds per task, of all roles together; 0 when no task was done."""
        return sum(self.per_task_us().values())


def cpu_ratio(measurement: str, *, raw: CpuTime, fleet: CpuTime) -> Figure:
    """
    What the same work costs, raw over fleet: what the throughput ratio comes to where CPUs are the limit.

    Other processes on the machine disturb it less than they do throughput.
    """
    fleet_us = fleet.of_all_us()
    return Figure(
        measurement=measurement,
        name="CPU of all processes, raw / fleet",
        value=raw.of_all_us() / fleet_us if fleet_us else 0.0,
        unit="x",
        note=f"{raw.of_all_us():.0f} us against {fleet_us:.0f} us",
    )


def cpu_figures(measurement: str, cpu: CpuTime) -> list[Figure]:
    """A figure per role."""
    return [
        Figure(measurement=measurement, name=f"CPU per task, {role}", value=spent_us, unit="us")
        for role, spent_us in cpu.per_task_us().items()
    ]
