"""How much a model may write."""

import pytest

from flotilla.contracts.attempts import Usage
from flotilla.inference.backend import Completion
from flotilla.inference.model_habits import MODELS_MAX, THOUGHT_TOKENS, ModelHabits


def cut(text: str, output_tokens: int = 0) -> Completion:
    """An answer that reached its bound."""
    return Completion(text=text, model="m", usage=Usage(output_tokens=output_tokens), complete=False)


@pytest.mark.parametrize(
    ("name", "thinks"),
    [
        *((name, True) for name in ("o3", "o4-mini", "openai/o1", "gpt-5", "gpt-5.1-mini", "gpt-oss:20b", "qwen3:8b")),
        *((name, True) for name in ("Qwen/Qwen3-8B", "deepseek-r1:7b", "deepseek-reasoner", "kimi-k2-thinking", "r1")),
        *((name, True) for name in ("gemini-2.5-flash", "gemini-3-pro", "qwq", "magistral:24b")),
        *((name, False) for name in ("gpt-4o", "llama3.2", "claude-haiku-4-5", "gemini-2.0-flash", "qwen2.5", "m", "")),
        *((name, False) for name in ("mistral-r1x", "o", "phi3", "gemma3", "turbo1")),
    ],
)
def test_models_whose_names_say_that_they_think_have_room_from_the_start(name: str, *, thinks: bool) -> None:
    """And no small model has."""
    assert 100 + THOUGHT_TOKENS * thinks == ModelHabits().output_tokens(name, 100)


def test_a_callers_own_bound_is_kept_whatever_the_model() -> None:
    """They asked for it."""
    assert 7 == ModelHabits().output_tokens("o3", 7, exact=True)


@pytest.mark.parametrize(
    ("answer", "in_thoughts"),
    [
        (cut(""), True),
        (cut("<think>hm"), True),
        (cut("ok", 300), True),
        (cut("a long answer that goes on and on"), False),
        (cut("a long answer that goes on and on", 30), False),
        (Completion(text="", model="m", usage=Usage(output_tokens=300)), False),
    ],
)
def test_thoughts_are_known_by_how_little_was_said(answer: Completion, *, in_thoughts: bool) -> None:
    """A model that repeats itself says much, and gets no more room for it."""
    habits = ModelHabits()

    assert in_thoughts is habits.cut_in_thoughts("m", answer)
    assert 100 + THOUGHT_TOKENS * in_thoughts == habits.output_tokens("m", 100)
    assert not habits.cut_in_thoughts("m", answer) or not in_thoughts


def test_no_number_of_names_grows_without_end() -> None:
    """A task may name any model."""
    habits = ModelHabits()
    for number in range(MODELS_MAX * 3):
        habits.leaked(f"m{number}")

    assert sum(habits.is_leaky(f"m{number}") for number in range(MODELS_MAX * 3)) <= MODELS_MAX
