"""Recorded answers played through a whole fleet: what comes out is what was recorded, whatever happens on the way."""

from pathlib import Path
from typing import Final

from flotilla.cli.replay.recorded_fleet import RecordedFleet
from flotilla.cli.replay.recording import Recorded, Recording, Row
from flotilla.cli.replay.simulation import simulate
from flotilla.cli.replay.trials import consensus
from flotilla.client.answers import Answer
from flotilla.testkit.recorded_provider import Served, Trouble, recorded_fleet

LABELS: Final = ("billing", "technical", "legal")
ROWS: Final = 90
SERVED: Final = (
    Served("near", "ollama", "small"),
    Served("far", "anthropic", "other"),
    Served("dear", "openai", "large"),
)


def recording_of(rows: int) -> Recording:
    """Three models that are each wrong on rows of their own."""
    found: list[Row] = []
    for row in range(rows):
        right = LABELS[row % 3]
        wrong = LABELS[(row + 1) % 3]
        answers = {
            "small": wrong if row % 4 == 0 else right,
            "other": wrong if row % 5 == 0 else right,
            "large": wrong if row % 10 == 3 else right,
        }
        by_model = {model: Recorded(answer=answer, seconds=0.01) for model, answer in answers.items()}
        found.append(Row(input_bytes=10, label=right, by_model=by_model))
    return Recording(models=("small", "other", "large"), rows=found)


def policy(strategy: str, *pools: str) -> str:
    routes = ", ".join(f'{{ pool = "{pool}" }}' for pool in pools)
    return f'[capabilities.classify]\nstrategy = "{strategy}"\nroutes = [{routes}]\n'


async def test_an_outage_limits_and_torn_answers_lose_and_mix_up_nothing(tmp_path: Path):
    """
    Two orchestrators, one of which is killed; every answer is what the model that gave it had said of its row.
    """
    recording = recording_of(ROWS)
    troubles = (
        Trouble("small", "away", 30, 60),
        Trouble("small", "rate_limited", 61, 62, times=1),
        Trouble("other", "cut", 30, 60, every=7, times=1),
    )
    async with recorded_fleet(
        tmp_path,
        recording,
        SERVED,
        policy=policy("failover", "near", "far", "dear"),
        scale=1.0,
        troubles=troubles,
        orchestrators=2,
    ) as played:

        def kill(row: int) -> None:
            if row == ROWS // 2:
                played.fleet.orchestrators[0].kill()

        texts = [f"text {row}" for row in range(ROWS)]
        ends = await played.ask_all(texts, LABELS, durable=True, while_asking=kill)

    said = [(end.answer.result.model, end.answer.output["label"]) for end in ends if end.answer is not None]
    assert ROWS == len(said)
    assert said == [(model, recording.rows[row].by_model[model].answer) for row, (model, _) in enumerate(said)]
    assert {"small", "other"} <= {model for model, _ in said}
    assert all(model != "small" for model, _ in said[30:60])


async def test_a_consensus_is_its_simulation_while_a_worker_and_an_orchestrator_are_killed(tmp_path: Path):
    """
    Which models answered which row, and what the result is, of every row: a lost attempt is made again, and decides nothing.
    """
    recording = recording_of(ROWS)
    trial = consensus("small,other,large", recording, "classify")
    simulated = simulate(recording, trial.policy, RecordedFleet(trial.policy, "classify", recording.models))
    served = [SERVED[0]._replace(replicas=2), *SERVED[1:]]
    async with recorded_fleet(
        tmp_path,
        recording,
        served,
        policy=policy("consensus", "near", "far", "dear"),
        scale=20.0,
        orchestrators=2,
    ) as played:
        # The orchestrator first: what it had seen lost would be in no result.
        ends_of = {ROWS // 3: played.fleet.orchestrators[0], ROWS // 2: played.fleet.workers[0]}

        def kill(row: int) -> None:
            if row in ends_of:
                ends_of[row].kill()

        ends = await played.ask_all([f"text {row}" for row in range(ROWS)], LABELS, durable=True, while_asking=kill)

    answered = [(end.answer.output["label"], models_of(end.answer)) for end in ends if end.answer is not None]
    assert [(each.answer, sorted(each.calls)) for each in simulated] == answered
    assert any(each.outcome != "ok" for end in ends if end.answer is not None for each in end.answer.attempts)


def models_of(answer: Answer) -> list[str]:
    """Of the attempts that went well."""
    return sorted(attempt.model for attempt in answer.attempts if attempt.outcome == "ok")


async def test_one_route_comes_to_the_recorded_answers_while_a_worker_and_an_orchestrator_are_killed(tmp_path: Path):
    """
    Every row is answered as its model did: accuracy is the recorded one's, to the last digit.
    """
    recording = recording_of(ROWS)
    async with recorded_fleet(
        tmp_path,
        recording,
        [SERVED[0]._replace(replicas=2)],
        policy=policy("failover", "near"),
        scale=5.0,
        orchestrators=2,
    ) as played:
        # The orchestrator first: what it had seen lost would be in no result.
        ends_of = {ROWS // 3: played.fleet.orchestrators[0], ROWS // 2: played.fleet.workers[0]}

        def kill(row: int) -> None:
            if row in ends_of:
                ends_of[row].kill()

        texts = [f"text {row}" for row in range(ROWS)]
        ends = await played.ask_all(texts, LABELS, durable=True, while_asking=kill)

    said = [end.answer.output["label"] if end.answer is not None else None for end in ends]
    assert said == [row.by_model["small"].answer for row in recording.rows]
