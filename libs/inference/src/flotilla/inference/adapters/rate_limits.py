"""
When a provider will have room again, where a 429 comes without `Retry-After`. Pure.

Each says it in a form of its own: OpenAI and Groq as a duration (`x-ratelimit-reset-tokens: 6m0s`), Anthropic as a time of
day (`anthropic-ratelimit-requests-reset`), OpenRouter in milliseconds since 1970, within the error. Whoever tries again
before that uses up what is counted by the day.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

EPOCH_S_MIN: Final = 1e9
"""A number from here on is a time since 1970, in seconds; below it is a duration."""
EPOCH_MS_MIN: Final = 1e12

_RESET: Final = re.compile(r"ratelimit-.{0,32}reset|ratelimit-reset", re.IGNORECASE)
_RESET_TOLD: Final = re.compile(r"X-RateLimit-Reset\W{1,6}(\d{10,13})\b", re.IGNORECASE)
_NUMBER: Final = re.compile(r"\d{1,13}(?:\.\d{1,9})?")
_DURATION: Final = re.compile(
    r"(?=\d)(?:(\d{1,3})d)?(?:(\d{1,4})h)?(?:(\d{1,5})m(?!s))?(?:(\d{1,6}(?:\.\d{1,9})?)s)?(?:(\d{1,6}(?:\.\d{1,9})?)ms)?"
)
_RETRY_DELAY: Final = re.compile(r"retryDelay\W{1,6}(\d{1,6}(?:\.\d{1,9})?)s")
_TRY_AGAIN: Final = re.compile(
    r"\b(?:try again in|retry after) (?:(\d{1,3})h)?(?:(\d{1,4})m(?!s))?(?:(\d{1,6}(?:\.\d{1,9})?)\s?(ms|s(?:econds?)?\b))?",
    re.IGNORECASE,
)
_UNITS_S: Final = (86_400.0, 3600.0, 60.0, 1.0, 0.001)


def room_again_s(headers: Mapping[str, str], text: str, now: datetime) -> float | None:
    """
    Seconds until all that is used up is there again; None where nobody says so, or the time has passed.

    Args:
        headers: Of the 429, case-insensitive. What has some left, as its `remaining` says, does not count.
        text: The error's body.
        now: Aware.
    """
    told = [headers[name] for name in headers if _RESET.search(name) and not _has_some_left(headers, name)]
    if match := _RESET_TOLD.search(text):
        told.append(match[1])
    waits = [wait_s for value in told if (wait_s := _until_s(value.strip(), now)) is not None and wait_s > 0]
    return max(waits, default=None)


def told_delay_s(text: str) -> float | None:
    """
    Seconds until one may come again, as the text of an error says it; None where it does not.

    Gemini says it in a field, OpenAI, Groq (`try again in 7m12.5s`) and Azure (`retry after 20 seconds`) in words.
    """
    if match := _RETRY_DELAY.search(text):
        return float(match[1])
    match = _TRY_AGAIN.search(text)
    if match is None or not any(match.groups()):
        return None
    hours, minutes, last, unit = match.groups()
    seconds = float(last or 0) / (1000 if unit and unit.lower() == "ms" else 1)
    return 3600.0 * int(hours or 0) + 60.0 * int(minutes or 0) + seconds


def _has_some_left(headers: Mapping[str, str], reset: str) -> bool:
    left = headers.get(reset.lower().replace("reset", "remaining"), "0").strip()
    return not (_NUMBER.fullmatch(left) and float(left) == 0)


def _until_s(value: str, now: datetime) -> float | None:
    if _NUMBER.fullmatch(value):
        number = float(value)
        if number >= EPOCH_MS_MIN:
            number /= 1000
        return number - now.timestamp() if number >= EPOCH_S_MIN else number
    if match := _DURATION.fullmatch(value):
        return sum(float(part or 0) * unit_s for part, unit_s in zip(match.groups(), _UNITS_S, strict=True))
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now.timestamp()
