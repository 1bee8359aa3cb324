"""Recorded answers played through a whole fleet: what comes out is what was recorded, whatever happens on the way."""

from pathlib import Path
from typing import Final

import pytest

from flotilla.cli.replay.recording import Recorded, Recording, Row
from flotilla.cli.replay.trials import consensus, play
from flotilla.testkit.recorded_provider import PlayedFleet, Served, Trouble, recorded_fleet

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


async def answers(played: PlayedFleet, rows: int) -> list[tuple[str, str]]:
    """Of each row: the model that answered, and its label."""
    ends = await played.ask_all([f"text {row}" for row in range(rows)], LABELS)
    return [
        ("", "failed") if end.answer is None else (end.answer.result.model, end.answer.output["label"]) for end in ends
    ]


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


async def test_a_fleet_and_its_simulation_agree_on_a_consensus(tmp_path: Path):
    """
    Which answers they give, and how often each model is called.
    """
    recording = recording_of(ROWS)
    simulated = play(consensus("small,other,large", recording, "classify"), recording, "classify")
    async with recorded_fleet(
        tmp_path, recording, SERVED, policy=policy("consensus", "near", "far", "dear"), scale=1.0
    ) as played:
        said = await answers(played, ROWS)
        calls = {model: sum(each.calls.values()) for model, each in played.answers.items()}

    correct = sum(label == row.label for (_, label), row in zip(said, recording.rows, strict=True))
    assert (simulated.correct, simulated.calls) == (correct, calls)
    assert simulated.accuracy == pytest.approx(correct / ROWS)
