"""
The ideal that balance is measured against: one central line in front of all slots, first in first out.

Pure. No fleet of separate processes can beat it: whenever a task waits, every slot works, and nothing takes time on the
way.
"""

import heapq
from collections.abc import Sequence
from itertools import pairwise
from random import Random

from msgspec import Struct


class Job(Struct, frozen=True, kw_only=True):
    """
    One task of an open-loop run.

    Attributes:
        arrives_s: Since the run began; does not wait for the tasks before it.
        service_s: How long it occupies a slot.
    """

    arrives_s: float
    service_s: float


def finish_times_s(jobs: Sequence[Job], slots: int) -> list[float]:
    """
    When each job ends with `slots` slots behind one line, in the order of `jobs`.

    Raises:
        ValueError: There is no slot, or the jobs are not in the order of their arrival.
    """
    if slots < 1 or any(job.arrives_s > after.arrives_s for job, after in pairwise(jobs)):
        raise ValueError("expected at least one slot, and jobs in the order of their arrival")
    free_at = [0.0] * slots
    ends: list[float] = []
    for job in jobs:
        end = max(job.arrives_s, free_at[0]) + job.service_s
        heapq.heapreplace(free_at, end)
        ends.append(end)
    return ends


def makespan_s(jobs: Sequence[Job], ends_s: Sequence[float]) -> float:
    """From the first arrival to the last end."""
    return max(ends_s) - min(job.arrives_s for job in jobs)


def mean_stay_s(jobs: Sequence[Job], ends_s: Sequence[float]) -> float:
    """The mean time from a job's arrival to its end."""
    return sum(end - job.arrives_s for job, end in zip(jobs, ends_s, strict=True)) / len(jobs)


def poisson_jobs(*, slots: int, load: float, duration_s: float, service_s: tuple[float, float], seed: int) -> list[Job]:
    """
    Jobs that arrive by a Poisson process with service times spread evenly over a range; the same for the same seed.

    Args:
        slots: That the load is for.
        load: Fraction of the slots' capacity, over 0.
        duration_s: In which they arrive.
        service_s: The shortest and the longest.
        seed: Of the random numbers.
    """
    random = Random(seed)
    per_s = load * slots / (sum(service_s) / 2)
    jobs: list[Job] = []
    at_s = random.expovariate(per_s)
    while at_s < duration_s:
        jobs.append(Job(arrives_s=at_s, service_s=random.uniform(*service_s)))
        at_s += random.expovariate(per_s)
    return jobs
