"""CPU time and memory of the processes that take part."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Final

from flotilla.cli.bench.errors import BenchError

if TYPE_CHECKING:
    import psutil

MIB: Final = 1024 * 1024


def cpu_s(pids: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """
    User and system CPU seconds so far, by role.

    Raises:
        BenchError: psutil is not installed, or a process is gone.
    """
    return {role: sum(_cpu_s(pid) for pid in members) for role, members in pids.items() if members}


def rss_mib(pids: Mapping[str, Sequence[int]]) -> dict[str, float]:
    """
    Resident memory now, by role; of several processes the largest.

    Raises:
        BenchError: psutil is not installed, or a process is gone.
    """
    return {role: max(_rss_mib(pid) for pid in members) for role, members in pids.items() if members}


def machine_busy_s() -> float:
    """CPU seconds that everything on this machine has used since it started."""
    times = _psutil().cpu_times()
    return sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0)


def _cpu_s(pid: int) -> float:
    times = _process(pid).cpu_times()
    return times.user + times.system


def _rss_mib(pid: int) -> float:
    return _process(pid).memory_info().rss / MIB


def _process(pid: int) -> "psutil.Process":
    known = _psutil()
    try:
        return known.Process(pid)
    except known.NoSuchProcess:
        raise BenchError(f"process {pid} of the fleet died during the benchmark") from None


def _psutil() -> ModuleType:
    try:
        import psutil  # noqa: PLC0415  (the benchmark alone needs it)
    except ImportError:
        raise BenchError("the benchmark needs psutil: pip install psutil") from None
    return psutil
