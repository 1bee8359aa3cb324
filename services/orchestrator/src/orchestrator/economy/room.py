"""A decision without the routes for which there is no room, and what is said of them. Pure."""

from collections.abc import Callable

import msgspec

from flotilla.contracts.fields import TEXT_LENGTH_MAX
from flotilla.routing.types import Choice, Decision, Exclusion, Route
from orchestrator.economy.errors import OverLimitError


def with_room(
    decision: Decision, capability: str, closed: Callable[[Route], OverLimitError | None], now_unix_ms: int
) -> Decision:
    """The same decision without the routes that are `closed`; the first one that is left says in whose place it is."""
    left: list[Choice] = []
    out: list[Exclusion] = []
    for choice in decision.routes:
        over = closed(choice.route)
        if over is not None:
            out.append(_exclusion(choice, over, now_unix_ms))
        elif out and not left:
            left.append(_instead(choice, out[0]))
        else:
            left.append(choice)
    if not out:
        return decision
    reason = decision.reason or ("" if left else f"every route for {capability} is over a limit")
    return msgspec.structs.replace(decision, routes=tuple(left), excluded=(*decision.excluded, *out), reason=reason)


def _instead(choice: Choice, over: Exclusion) -> Choice:
    """The first route that is left, with why it is not the one before it."""
    reason = f"{choice.reason}; {over.pool} is over: {over.reason}"
    return msgspec.structs.replace(choice, reason=reason[:TEXT_LENGTH_MAX])


def _exclusion(choice: Choice, over: OverLimitError, now_unix_ms: int) -> Exclusion:
    return Exclusion(
        pool=choice.route.pool,
        model=choice.route.model,
        reason=f"{over.why}: {over.free_in_s:.1f} s to go",
        waits=True,
        until_unix_ms=now_unix_ms + round(over.free_in_s * 1000),
        figures=choice.figures,
        limited=True,
    )
