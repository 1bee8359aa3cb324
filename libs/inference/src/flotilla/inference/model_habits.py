"""
What each model of a pool is known to do: how much it may write, whether it thinks first, how its thoughts end.

A provider counts thoughts towards the bound on the output. A bound that fits the answer of a small model would end a
thinking one in its thoughts, and one that fits both lets a small model that repeats itself go on for minutes. So the
bound is the answer's, and a model gets room for thoughts once its name or a cut answer says that it has some.
"""

import re
from collections.abc import Mapping
from typing import Final

from flotilla.inference.backend import Completion
from flotilla.inference.thoughts import without_thoughts

THOUGHT_TOKENS: Final = 16_384
"""Room for the thoughts of a model that has some, beside the answer's."""
MODELS_MAX: Final = 256
"""Models remembered for a habit."""

_NAMED_THINKERS: Final = re.compile(
    r"(?:^|[/:_.-])(?:o\d|gpt-5|gpt-oss|gemini-2\.5|gemini-[3-9]|qwen3|qwq|magistral|deepseek-r\d|r1)(?![a-z\d])"
    r"|think|reason",
    re.IGNORECASE,
)
"""Known by name; any other is known after its first answer that was cut in its thoughts."""


class ModelHabits:
    """
    Remembers habits by the model's name.

    Args:
        output_tokens_max: The most that a call of a model may ask for; that of "" is every other model's.
    """

    def __init__(self, output_tokens_max: Mapping[str, int] | None = None) -> None:
        self._output_tokens_max = dict(output_tokens_max or {})
        self._thinking: set[str] = set()
        self._leaky: set[str] = set()

    def output_tokens(self, model: str, answer_tokens: int, *, exact: bool = False) -> int:
        """
        The bound on the output of a call.

        Args:
            model: Which is asked.
            answer_tokens: What the answer may have.
            exact: Whether that is the caller's own bound, which leaves no room for thoughts beside it.
        """
        wanted = answer_tokens + (THOUGHT_TOKENS if not exact and self._thinks(model) else 0)
        most = self._output_tokens_max.get(model, self._output_tokens_max.get(""))
        return wanted if most is None else min(wanted, most)

    def cut_in_thoughts(self, model: str, completion: Completion) -> bool:
        """
        Learn from a cut answer that the model thinks; whether asking again leaves it more room.

        It thinks when next to nothing was said: nothing but thoughts, or fewer characters than tokens were counted, the
        others being thoughts that the server keeps to itself.
        """
        if completion.complete or self._thinks(model):
            return False
        said = without_thoughts(completion.text).strip()
        if len(said) >= max(completion.usage.output_tokens, 1):
            return False
        _remember(self._thinking, model)
        return True

    def is_leaky(self, model: str) -> bool:
        """Whether it was seen to send the end of its thoughts without their beginning."""
        return model in self._leaky

    def leaked(self, model: str) -> None:
        """Remember that it did so."""
        _remember(self._leaky, model)

    def _thinks(self, model: str) -> bool:
        return model in self._thinking or model in self._leaky or _NAMED_THINKERS.search(model) is not None


def _remember(models: set[str], model: str) -> None:
    if len(models) >= MODELS_MAX:
        models.clear()
    models.add(model)
