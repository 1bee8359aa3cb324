"""Tasks that replicas may have died of are tried one at a time."""

from flotilla.testkit.run_story import Story
from orchestrator.execution.isolation import ALONE_S, Isolation


def test_one_task_has_the_place_until_its_try_is_over() -> None:
    """
    It may take it again itself; another one comes after it.
    """
    isolation, one, other = Isolation(), Story().run.task, Story().run.task

    assert isolation.take(one, 100.0)
    assert isolation.take(one, 101.0)
    assert not isolation.take(other, 101.0 + ALONE_S - 0.001)
    isolation.leave(other)
    assert not isolation.take(other, 101.0)
    isolation.leave(one)
    assert isolation.take(other, 101.0)
    assert not isolation.take(one, 101.0)


def test_who_works_for_long_has_not_been_ended_at_once_and_makes_room() -> None:
    """
    The place is another's then, also when the first one leaves.
    """
    isolation, one, other, third = Isolation(), Story().run.task, Story().run.task, Story().run.task
    isolation.take(one, 100.0)

    assert isolation.take(other, 100.0 + ALONE_S)
    isolation.leave(one)
    assert not isolation.take(third, 100.0 + ALONE_S)
