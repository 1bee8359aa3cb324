"""What `flotilla approvals` does with requests that wait: list, show, grant, deny, watch. With an approver's credentials."""

import asyncio
import getpass
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cyclopts import Parameter

from flotilla.cli.console import exits, terminal
from flotilla.cli.console.arguments import NO_WHERE, Where
from flotilla.cli.console.readable import moment
from flotilla.cli.console.tables import table
from flotilla.contracts.api_approvals import APPROVALS_LIST_DEFAULT, APPROVALS_LIST_MAX, ApprovalEntry, ApprovalShown
from flotilla.contracts.approval_requests import ID
from flotilla.contracts.approvals import LIFETIME_S_MAX, Grant
from flotilla.contracts.clock import unix_ms
from flotilla.fabric.approver_keys import ApproverKey, read_key
from flotilla.fabric.errors import CredentialsError

if TYPE_CHECKING:
    from flotilla.client.fleet import Fleet

GRANT_LIFETIME_S: Final = 3600
NONCE_BYTES: Final = 16
WATCH_EVERY_S: Final = 2.0
SEEN_MAX: Final = 10_000


async def list_(  # noqa: D417  (groups of options say it themselves)
    *,
    everything: Annotated[bool, Parameter(name="--all", negative="")] = False,
    limit: int = APPROVALS_LIST_DEFAULT,
    where: Where = NO_WHERE,
) -> int:
    """
    List the requests that wait, the oldest first.

    Parameters
    ----------
    everything
        Those that are decided too, for as long as they are kept.
    limit
        How many, at most.
    """
    if not 1 <= limit <= APPROVALS_LIST_MAX:
        raise exits.UsageError(f"--limit {limit}: expected 1 to {APPROVALS_LIST_MAX}")
    async with where.fleet() as fleet:
        requests = await fleet.approvals.list(everything=everything, limit=limit)
    if where.json:
        for request in requests:
            terminal.json_line(msgspec.json.encode(request))
    elif requests:
        table(("id", "status", "step", "capability", "class", "expires", "run"), [_row(each) for each in requests])
    else:
        terminal.aside("nothing waits for an approval")
    return exits.OK


async def show_request(request: str, where: Where) -> int:
    """Show one request, and the whole input that would leave."""
    async with where.fleet() as fleet:
        shown = await fleet.approvals.show(request)
    if where.json:
        terminal.json_line(msgspec.json.encode(shown))
    else:
        _tell(shown)
    return exits.OK


async def grant(  # noqa: D417  (groups of options say it themselves)
    request: str,
    /,
    *,
    key: Path | None = None,
    comment: str = "",
    by: str | None = None,
    lifetime_s: int = GRANT_LIFETIME_S,
    where: Where = NO_WHERE,
) -> int:
    """
    Let a step's input pass, once: shows it whole on standard error first. It is what the decision is bound to.

    Parameters
    ----------
    request
        Its id, as `flotilla approvals list` shows it.
    key
        The file with your seed: signs the grant, for workers that ask for one.
    comment
        For the audit.
    by
        Your name, for the audit; who is logged in here unless given.
    lifetime_s
        With --key: how long the grant is good; at most seven days.
    """
    if not 1 <= lifetime_s <= LIFETIME_S_MAX:
        raise exits.UsageError(f"--lifetime-s {lifetime_s}: expected 1 to {LIFETIME_S_MAX}")
    checked_id(request)
    own = _key_of(key)
    async with where.fleet() as fleet:
        shown = await fleet.approvals.show(request)
        terminal.aside(msgspec.json.format(bytes(shown.payload)).decode())
        signed = None if own is None else own.sign(_claims(shown.approval, own, lifetime_s))
        decided = await fleet.approvals.grant(shown.approval, comment=comment, grant=signed, by=_name(by))
    return _said(decided, where)


async def deny(request: str, /, *, comment: str = "", by: str | None = None, where: Where = NO_WHERE) -> int:  # noqa: D417  (groups of options say it themselves)
    """
    Have the task fail, and nothing leave.

    Parameters
    ----------
    request
        Its id, as `flotilla approvals list` shows it.
    comment
        Why; the task's caller reads it too.
    by
        Your name, for the audit; who is logged in here unless given.
    """
    checked_id(request)
    async with where.fleet() as fleet:
        shown = await fleet.approvals.show(request)
        decided = await fleet.approvals.deny(shown.approval, comment=comment, by=_name(by))
    return _said(decided, where)


async def watch(*, where: Where = NO_WHERE) -> int:
    """Tell of each request as it comes, until interrupted; those that wait already first."""
    seen: dict[str, None] = {}
    async with where.fleet() as fleet:
        while True:
            await _tell_new(fleet, seen, where)
            await asyncio.sleep(WATCH_EVERY_S)


def checked_id(request: str) -> str:
    """
    The id of a request, before anybody is asked about it.

    Raises:
        UsageError: It is none.
    """
    if not re.fullmatch(ID, request):
        raise exits.UsageError(f"{request}: no id of a request for approval; `flotilla approvals list` shows them")
    return request


async def audit_lines(request: str | None, limit: int, where: Where) -> int:
    """See `flotilla audit`."""
    if request is not None:
        checked_id(request)
    async with where.fleet() as fleet:
        lines = await fleet.approvals.audit(request, limit=limit)
    if where.json:
        for line in lines:
            terminal.json_line(msgspec.json.encode(line))
    elif lines:
        rows = [
            (moment(line.at_unix_ms), line.status, line.who, line.capability, line.id, line.task, line.comment)
            for line in lines
        ]
        table(("at", "status", "who", "capability", "id", "run", "comment"), rows)
    else:
        terminal.aside("nothing has been asked for yet")
    return exits.OK


async def _tell_new(fleet: "Fleet", seen: dict[str, None], where: Where) -> None:
    for request in await fleet.approvals.list(limit=APPROVALS_LIST_MAX):
        if request.id in seen:
            continue
        seen[request.id] = None
        while len(seen) > SEEN_MAX:
            del seen[next(iter(seen))]
        if where.json:
            terminal.json_line(msgspec.json.encode(request))
        else:
            terminal.write(_line(request) + "\n")


def _row(request: ApprovalEntry) -> tuple[str, ...]:
    step = request.step if request.index is None else f"{request.step}.{request.index}"
    expires = moment(request.expires_unix_ms)
    return (request.id, request.status, step, request.capability, request.data_class, expires, request.task)


def _line(request: ApprovalEntry) -> str:
    step = f" (step {request.step})" if request.step else ""
    return f"{request.id}  {request.capability}{step} of {request.task}, until {moment(request.expires_unix_ms)}"


def _tell(shown: ApprovalShown) -> None:
    request = shown.approval
    lines = [
        f"request     {request.id}",
        f"status      {request.status}",
        f"task        {request.task}",
        *([f"step        {_row(request)[2]}"] if request.step else []),
        f"capability  {request.capability}",
        f"data class  {request.data_class}, may go to {' and '.join(request.zones)}",
        f"from        {request.submitted_by}",
        f"asked       {moment(request.created_unix_ms)}",
        f"expires     {moment(request.expires_unix_ms)}",
        *(
            [f"decided     {moment(request.decided_unix_ms)} by {request.decided_by}"]
            if request.decided_unix_ms
            else []
        ),
        *([f"comment     {request.comment}"] if request.comment else []),
        f"input       {request.input_bytes:,} bytes, SHA-256 {request.input_sha256}",
        "",
        msgspec.json.format(bytes(shown.payload)).decode(),
    ]
    terminal.write("\n".join(lines) + "\n")


def _said(decided: ApprovalEntry, where: Where) -> int:
    if where.json:
        terminal.json_line(msgspec.json.encode(decided))
    else:
        terminal.write(f"{decided.status}\n")
        terminal.aside(f"{decided.id} of the task {decided.task}, by {decided.decided_by}")
    return exits.OK


def _claims(request: ApprovalEntry, own: ApproverKey, lifetime_s: int) -> Grant:
    return Grant(
        scope=request.scope,
        capability=request.capability,
        data_class=request.data_class,
        zones=request.zones,
        input_sha256=request.input_sha256,
        expires_unix_ms=unix_ms() + lifetime_s * 1000,
        nonce=secrets.token_hex(NONCE_BYTES),
        approver=own.public_key,
    )


def _key_of(path: Path | None) -> ApproverKey | None:
    try:
        return None if path is None else read_key(path)
    except CredentialsError as error:
        raise exits.UsageError(f"--key: {error}") from error


def _name(given: str | None) -> str:
    if given is not None:
        return given
    with suppress(OSError, KeyError):
        return getpass.getuser()
    return ""
