"""The ideal line that balance is measured against."""

from random import Random

import pytest

from flotilla.cli.bench.queue_simulation import Job, finish_times_s, makespan_s, mean_stay_s, poisson_jobs


def job(arrives_s: float, service_s: float) -> Job:
    return Job(arrives_s=arrives_s, service_s=service_s)


def test_a_job_waits_for_the_slot_that_is_free_first() -> None:
    """
    First in, first out, over all slots.
    """
    jobs = [job(0.0, 4.0), job(0.0, 1.0), job(0.5, 2.0), job(0.6, 0.5)]

    assert finish_times_s(jobs, 2) == [4.0, 1.0, 3.0, 3.5]


def test_a_job_begins_when_it_arrives_if_a_slot_is_free() -> None:
    """
    Slots that idle do not work ahead.
    """
    assert finish_times_s([job(1.0, 1.0), job(5.0, 1.0)], 1) == [2.0, 6.0]


def test_thirty_jobs_on_six_slots_take_five_rounds() -> None:
    """
    The makespan counts from the first arrival.
    """
    jobs = [job(1.0, 0.5) for _ in range(30)]

    assert makespan_s(jobs, finish_times_s(jobs, 6)) == pytest.approx(2.5)


def test_the_mean_stay_holds_waiting_and_service() -> None:
    """
    Two jobs at once on one slot: one stays 1 s, the other 2 s.
    """
    jobs = [job(3.0, 1.0), job(3.0, 1.0)]

    assert mean_stay_s(jobs, finish_times_s(jobs, 1)) == pytest.approx(1.5)


def test_no_slot_ever_idles_while_a_job_waits() -> None:
    """
    What makes it ideal: at every start, either the job has just arrived or a slot has just come free.
    """
    random = Random(3)
    # Multiples of 1/64 add up without rounding.
    arrivals = sorted(random.randint(0, 640) / 64 for _ in range(500))
    jobs = [job(at, random.randint(6, 32) / 64) for at in arrivals]
    ends = finish_times_s(jobs, 12)
    starts = [end - each.service_s for each, end in zip(jobs, ends, strict=True)]

    assert max(sum(start <= at < end for start, end in zip(starts, ends, strict=True)) for at in starts) == 12
    for each, start in zip(jobs, starts, strict=True):
        assert start == each.arrives_s or (start > each.arrives_s and start in ends)


@pytest.mark.parametrize(("jobs", "slots"), [([job(0.0, 1.0)], 0), ([job(1.0, 1.0), job(0.0, 1.0)], 1)])
def test_what_cannot_be_simulated_is_refused(jobs: list[Job], slots: int) -> None:
    """
    No slots, or jobs out of order.
    """
    with pytest.raises(ValueError, match="at least one slot"):
        finish_times_s(jobs, slots)


def test_poisson_jobs_put_on_the_load_that_was_asked_for() -> None:
    """
    Over a long run; all arrive in time, in order, with service times in the range.
    """
    jobs = poisson_jobs(slots=64, load=0.95, duration_s=200.0, service_s=(0.2, 0.4), seed=1)
    load = sum(each.service_s for each in jobs) / (64 * 200.0)

    assert load == pytest.approx(0.95, rel=0.02)
    assert [each.arrives_s for each in jobs] == sorted(each.arrives_s for each in jobs)
    assert max(each.arrives_s for each in jobs) < 200.0
    assert all(0.2 <= each.service_s <= 0.4 for each in jobs)


def test_poisson_jobs_are_the_same_for_the_same_seed() -> None:
    """
    So that two versions are measured with the same load.
    """

    def made(seed: int) -> list[Job]:
        return poisson_jobs(slots=4, load=0.9, duration_s=5.0, service_s=(0.1, 0.2), seed=seed)

    assert made(5) == made(5)
    assert made(5) != made(6)
