"""Tasks that replicas may have died of: how many more get them, and when none does."""

import pytest

from flotilla.contracts.failures import ErrorKind
from flotilla.testkit.run_story import ONLY_HERE, Story, told
from orchestrator.execution.next_action import UNSAFE_LOOK_S
from orchestrator.execution.poison_tasks import DEATHS_MAX, deaths_to_tell
from orchestrator.execution.run_steps import Action, Fail, FindRoutes, Park, Pause, Refreshed, TellDeaths
from orchestrator.state.replica_states import Replica, Standing


def lost(story: Story, *names: str) -> None:
    story.failed("lost", suspects=names)


@pytest.mark.parametrize(
    ("standings", "follows", "deaths"),
    [
        ({}, FindRoutes(), 0),
        ({"one": "silent"}, FindRoutes(), 0),
        ({"one": "gone"}, FindRoutes(), 1),
        ({"one": "well", "two": "well", "three": "well"}, FindRoutes(), 0),
        ({"one": "silent", "two": "silent"}, FindRoutes(alone=True), 0),
        ({"one": "gone", "two": "silent"}, FindRoutes(alone=True), 1),
        ({"one": "gone", "two": "gone"}, FindRoutes(alone=True), 2),
        ({"one": "silent", "two": "silent", "three": "silent"}, Pause(UNSAFE_LOOK_S), 0),
        ({"one": "gone", "two": "gone", "three": "silent"}, Pause(UNSAFE_LOOK_S), 2),
        ({"one": "gone", "two": "gone", "three": "well"}, FindRoutes(alone=True), 2),
        ({"one": "gone", "two": "gone", "three": "gone"}, ErrorKind.PROVIDER_FAILED, 3),
    ],
)
def test_a_task_is_given_to_no_more_replicas_than_may_die_of_it(
    standings: dict[str, Standing], follows: Action | ErrorKind, deaths: int
) -> None:
    """
    It waits while it is not known whether those before have died, and is given up when they have; those that came back
    were only frozen, and nothing is held against the task.
    """
    story = Story()
    for name in standings:
        lost(story, name)

    assert follows == told(story.refreshed(standings=standings))
    assert deaths == story.run.deaths


def test_a_durable_task_in_doubt_is_parked() -> None:
    """
    It takes no room from others.
    """
    story = Story(durable=True)
    names = ("one", "two", "three")
    for name in names:
        lost(story, name)

    assert Park(UNSAFE_LOOK_S) == story.refreshed(standings=dict.fromkeys(names, "silent"))


def test_a_task_that_was_given_up_says_how_many_died_and_where() -> None:
    """
    Whoever sends it again knows where to look first.
    """
    story = Story()
    for name in ("one", "two", "three"):
        lost(story, name)

    action = story.refreshed(standings={"one": "gone", "two": "gone", "three": "gone"})

    assert isinstance(action, Fail)
    assert not action.error.retryable
    assert {"deaths": DEATHS_MAX, "replicas": ["here-1"]} == action.error.details


def test_one_loss_is_one_death_however_many_went_with_it() -> None:
    """
    A node that dies takes replicas along that never saw the task.
    """
    story = Story(durable=True)
    names = ("one", "two", "three", "four")
    lost(story, *names)

    assert FindRoutes() == story.refreshed(standings=dict.fromkeys(names, "gone"))
    assert 1 == story.run.deaths
    assert not story.run.losses


def test_one_suspect_that_died_is_enough() -> None:
    """
    Whatever has become of the others.
    """
    story = Story()
    lost(story, "one", "two")
    story.refreshed(standings={"one": "well", "two": "gone"})

    assert (1, []) == (story.run.deaths, story.run.losses)


def test_a_suspect_that_is_well_again_is_one_no_more() -> None:
    """
    Should it die later, it is not of this task.
    """
    story = Story()
    lost(story, "one", "two")
    story.refreshed(standings={"one": "well", "two": "silent"})
    story.refreshed(standings={"one": "gone", "two": "well"})

    assert 0 == story.run.deaths


@pytest.mark.parametrize(
    ("deaths", "losses", "told_deaths"), [(0, 1, 1), (0, 2, 2), (0, 3, 2), (1, 1, 2), (2, 1, 2), (2, 0, 2), (3, 0, 3)]
)
def test_the_other_orchestrators_are_told_before_the_task_goes_on(deaths: int, losses: int, told_deaths: int) -> None:
    """
    Uncertain deaths leave whoever gets the task next one more try.
    """
    story = Story(durable=True, deaths=min(deaths, 2))
    story.run.deaths = deaths
    names = [str(number) for number in range(losses)]
    for name in names:
        lost(story, name)

    assert told_deaths == deaths_to_tell(story.run)
    if losses or deaths >= DEATHS_MAX:
        standings: dict[Replica, Standing] = {Replica("here", name): "silent" for name in names}
        assert TellDeaths(told_deaths) == story.event(Refreshed(story.run.rules, standings=standings))


@pytest.mark.parametrize(("deaths", "follows"), [(0, FindRoutes()), (1, FindRoutes()), (2, FindRoutes(alone=True))])
def test_a_task_that_is_delivered_again_is_as_suspicious_as_it_was(deaths: int, follows: Action) -> None:
    """
    It goes alone after as many deaths as before it was given back, and nobody is told again of what all know.
    """
    story = Story(durable=True, deaths=deaths)

    assert follows == story.event(Refreshed(story.run.rules))


def test_deaths_that_another_orchestrator_saw_count() -> None:
    """
    The task was delivered again, and nobody here is asked to take it.
    """
    story = Story(durable=True, deaths=DEATHS_MAX)

    assert ErrorKind.PROVIDER_FAILED == told(story.refreshed())


def test_a_task_that_nobody_died_of_is_never_asked_about() -> None:
    """
    The usual way has no such step.
    """
    story = Story(durable=True)
    story.failed("unavailable")
    story.routed(ONLY_HERE)

    assert FindRoutes() == story.refreshed()
