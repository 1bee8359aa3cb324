"""CPU time and memory of the processes that take part."""

from collections.abc import Mapping, Sequence
from typing import Final

from flotilla.client.bench.errors import BenchError

MIB: Final = 1024 * 1024

try:
    import psutil
except ImportError:  # the benchmark alone needs it
    psutil = None


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


def _cpu_s(pid: int) -> float:
    times = _process(pid).cpu_times()
    return times.user + times.system


def _rss_mib(pid: int) -> float:
    return _process(pid).memory_info().rss / MIB


def _process(pid: int) -> "psutil.Process":
    if psutil is None:
        raise BenchError("the benchmark needs psutil: pip install psutil")
    try:
        return psutil.Process(pid)
    except psutil.NoSuchProcess:
        raise BenchError(f"process {pid} of the fleet died during the benchmark") from None
