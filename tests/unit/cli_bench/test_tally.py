"""Requests counted by the numbers of attempts."""

from flotilla.cli.bench.timed_worker import WARM_UP, Tally, requests_sent


def test_requests_that_found_no_slot_are_counted_too() -> None:
    """
    Nobody saw the attempts 4, 5 and 7: they were refused, and they are requests.
    """
    one, other = Tally(), Tally()
    one.see(f"{WARM_UP}0", "o1.1")
    other.see(f"{WARM_UP}1", "o1.2")
    one.see("ask-1", "o1.3")
    other.see("ask-2", "o1.6")
    one.see("ask-3", "o1.8")

    assert requests_sent([one, other]) == 6
    assert one.answered + other.answered == 3


def test_requests_of_several_orchestrators_are_added() -> None:
    """
    Each numbers its own; an id may hold a dot.
    """
    tally = Tally()
    for attempt in ("host.a.10", "b.4"):
        tally.see(f"{WARM_UP}0", attempt)
    for attempt in ("host.a.12", "host.a.11", "b.5"):
        tally.see("ask-1", attempt)

    assert requests_sent([tally]) == 3
