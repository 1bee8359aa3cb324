"""Which capabilities an orchestrator knows: all that workers announce, and those of workers that are away, within bounds."""

from flotilla.capabilities.catalogue import Catalogue
from orchestrator.ways_in.intake import KNOWN_SHOWN_MAX, POOLS_REMEMBERED_MAX, REMEMBERED_PER_POOL_MAX, Intake, Limits


def intake() -> Intake:
    """One that knows the built-in capabilities."""
    return Intake(Catalogue.load(), Limits(payload_bytes_max=1_000_000))


def test_what_a_worker_announced_is_known_after_it_has_gone():
    """
    Tasks that were accepted for it wait for it.
    """
    known = intake()
    known.announce("mine", {"count-words"})
    known.announce("mine", ())

    assert known.knows("count-words")
    assert known.knows("classify")
    assert not known.knows("other")


def test_a_pool_that_announces_ever_new_names_pushes_out_its_own_and_nobody_elses():
    """
    What is remembered is bounded for each pool.
    """
    known = intake()
    known.announce("mine", {"count-words"})
    known.remember("earlier")
    for number in range(10 * REMEMBERED_PER_POOL_MAX):
        known.announce("evil", {f"c{number}"})

    assert known.knows("count-words")
    assert known.knows("earlier")
    remembered = [number for number in range(10 * REMEMBERED_PER_POOL_MAX) if known.knows(f"c{number}")]
    assert REMEMBERED_PER_POOL_MAX == len(remembered)
    assert 10 * REMEMBERED_PER_POOL_MAX - 1 == remembered[-1]


def test_what_waits_is_known_as_long_as_it_is_announced_again():
    """
    Of one pool's names the one announced longest ago goes first.
    """
    known = intake()
    for number in range(2 * REMEMBERED_PER_POOL_MAX):
        known.announce("mine", {"count-words", f"c{number}"})

    assert known.knows("count-words")


def test_pools_are_bounded_too():
    """
    Even if names of pools were not given out with credentials.
    """
    known = intake()
    for number in range(2 * POOLS_REMEMBERED_MAX):
        known.announce(f"p{number}", {f"c{number}"})

    assert POOLS_REMEMBERED_MAX == sum(known.knows(f"c{number}") for number in range(2 * POOLS_REMEMBERED_MAX))


def test_the_refusal_of_an_unknown_capability_stays_short():
    """
    It lists what is known, and goes over the wire with each such task.
    """
    known = intake()
    known.announce("mine", [f"c{number}" for number in range(REMEMBERED_PER_POOL_MAX)])

    error = known.unknown("clasify")

    assert "classify" in error.details["known"]
    assert len(error.details["known"]) <= KNOWN_SHOWN_MAX + len(Catalogue.load().names())
