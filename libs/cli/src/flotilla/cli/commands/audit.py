"""`flotilla audit`: what became of requests for approval."""

from flotilla.cli.commands.approval_requests import audit_lines
from flotilla.cli.console import exits
from flotilla.cli.console.arguments import NO_WHERE, Where
from flotilla.contracts.api_approvals import APPROVALS_LIST_DEFAULT, APPROVALS_LIST_MAX


async def audit(  # noqa: D417  (groups of options say it themselves)
    request: str | None = None, /, *, limit: int = APPROVALS_LIST_DEFAULT, where: Where = NO_WHERE
) -> int:
    """
    Say who asked for what to leave, who decided, when and why, and what became of it; the newest first.

    With an approver's credentials. Lines are kept for 90 days, and nobody can change them.

    Parameters
    ----------
    request
        The id of one request; all, unless given.
    limit
        How many lines, at most.
    """
    if not 1 <= limit <= APPROVALS_LIST_MAX:
        raise exits.UsageError(f"--limit {limit}: expected 1 to {APPROVALS_LIST_MAX}")
    return await audit_lines(request, limit, where)
