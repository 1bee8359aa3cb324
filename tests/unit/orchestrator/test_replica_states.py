"""Which replicas are in trouble, and whether a request may have brought them there."""

from typing import Final

from orchestrator.state.replica_states import GONE_AFTER_S, REMEMBERED_S, SILENT_AFTER_S, Replica, ReplicaStates

ONE: Final = Replica("p", "one", 1)
TWO: Final = Replica("p", "two", 1)


def test_a_replica_is_silent_once_it_has_left_a_question_unanswered_for_a_while() -> None:
    """
    Not while the answer is on its way, and not any more once it speaks.
    """
    states = ReplicaStates()
    states.asked(ONE, 10.0)

    assert "well" == states.standing(ONE, 10.0 + SILENT_AFTER_S / 2)
    assert "silent" == states.standing(ONE, 10.0 + SILENT_AFTER_S)
    states.answered(ONE)
    assert "well" == states.standing(ONE, 20.0)


def test_a_replica_out_of_reach_is_gone_only_when_it_stays_so() -> None:
    """
    A connection that broke comes back within seconds.
    """
    states = ReplicaStates()
    states.asked(ONE, 10.0)
    states.away(ONE, 10.0)
    states.away(ONE, 12.0)

    assert ("silent", False) == (states.standing(ONE, 10.1), states.is_reachable(ONE))
    assert "gone" == states.standing(ONE, 10.0 + GONE_AFTER_S)


def test_a_replica_whose_card_is_gone_is_gone_if_it_was_in_trouble() -> None:
    """
    One that was well has left as it should, whatever its last task was.
    """
    states = ReplicaStates()
    states.asked(ONE, 10.0)
    states.absent(ONE)
    states.absent(TWO)

    assert ["gone", "well"] == [states.standing(ONE, 10.0), states.standing(TWO, 10.0)]
    assert [] == states.troubled()


def test_suspect_is_who_came_into_trouble_after_the_request_was_sent() -> None:
    """
    One that was silent before has only swallowed it.
    """
    states = ReplicaStates()
    states.asked(ONE, 5.0)
    states.asked(TWO, 11.0)

    assert frozenset([TWO]) == states.suspects([ONE, TWO], sent_s=10.0, now_s=12.0)
    assert states.was_in_trouble(ONE, 10.0, 12.0)
    assert not states.was_in_trouble(TWO, 10.0, 12.0)


def test_a_death_is_blamed_once() -> None:
    """
    However many attempts were lost with it.
    """
    states = ReplicaStates()
    states.asked(ONE, 5.0)

    assert [True, False] == [states.blame([ONE]), states.blame([ONE])]
    states.asked(TWO, 5.0)
    assert states.blame([ONE, TWO])


def test_what_one_swallows_is_told_from_what_nobody_serves() -> None:
    """
    Only while another that lives was well when it was sent; one whose card has expired swallows yet.
    """
    states = ReplicaStates()
    seen = {"sent_s": 10.0, "now_s": 12.0}
    assert not states.swallows_beside("p", [ONE, TWO], **seen)
    states.asked(ONE, 5.0)

    assert states.swallows_beside("p", [ONE, TWO], **seen)
    assert not states.swallows_beside("p", [ONE], **seen)
    assert not states.swallows_beside("other", [ONE, TWO], **seen)
    assert not states.swallows_beside("p", [ONE, TWO], sent_s=4.0, now_s=12.0)
    states.absent(ONE)
    assert states.swallows_beside("p", [TWO], **seen)
    states.asked(TWO, 9.0)
    assert not states.swallows_beside("p", [ONE, TWO], **seen)


def test_the_same_name_started_again_is_another_life() -> None:
    """
    Its answers say nothing about the one before.
    """
    states = ReplicaStates()
    states.asked(ONE, 5.0)
    states.away(ONE, 5.0)
    states.answered(ONE._replace(started_unix_ms=2))

    assert "gone" == states.standing(ONE, 9.0)


def test_troubles_are_forgotten_in_time() -> None:
    """
    Long after any task may ask.
    """
    states = ReplicaStates()
    states.asked(ONE, 5.0)
    states.forget(6.0 + REMEMBERED_S)

    assert [] == states.in_trouble("p")


def test_after_a_break_only_who_is_gone_counts_yet() -> None:
    """
    Whoever was silent, or out of reach, may have answered meanwhile.
    """
    states = ReplicaStates()
    states.asked(ONE, 10.0)
    states.asked(TWO, 10.0)
    states.away(TWO, 10.0)
    states.absent(ONE)
    states.forget_undecided()

    assert ["gone", "well"] == [states.standing(each, 10.0 + GONE_AFTER_S) for each in (ONE, TWO)]
