"""`flotilla approvals`: an approver's key, grants signed with it, what a grant says, and the requests that wait."""

import os
import re
import secrets
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter

from flotilla.chassis.errors import PrivateFileError
from flotilla.chassis.private_files import FILE_MODE
from flotilla.cli.commands.approval_requests import deny, grant, list_, show_request, watch
from flotilla.cli.console import exits, terminal
from flotilla.cli.console.arguments import NO_FIELDS, NO_WHERE, SOURCES, Fields, Where
from flotilla.cli.console.examples import examples_of
from flotilla.cli.console.jobs import plan
from flotilla.cli.console.readable import moment
from flotilla.contracts.approval_requests import ID
from flotilla.contracts.approvals import LIFETIME_S_MAX, Grant, payload_digest, read_grant
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import DecodeFailedError
from flotilla.contracts.headers import DataClass
from flotilla.contracts.names import DEFAULT_SCOPE, is_name, is_scope
from flotilla.contracts.subjects import Zone
from flotilla.fabric.approver_keys import is_signed, new_approver_seed, read_key
from flotilla.fabric.errors import CredentialsError

approvals: Final = App(name="approvals", help_format="plaintext", help_epilogue=examples_of("approvals"))
approvals.command(list_, name="list")
approvals.command(grant)
approvals.command(deny)
approvals.command(watch)

LIFETIME_S_DEFAULT: Final = 3600
NONCE_BYTES: Final = 16

JSON = Annotated[bool, Parameter(negative="")]


@approvals.command
def key(file: Path, /, *, json: JSON = False) -> int:
    """
    Make an approver's key: the seed goes into a new file that its owner alone can read, the public key is printed.

    Workers are told the public key in FLOTILLA_APPROVERS. The seed belongs to the approver, and not to whoever submits.

    Parameters
    ----------
    file
        Where the seed goes; nothing may be there yet.
    json
        Write for programs: one JSON object.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
        with os.fdopen(descriptor, "wb") as seed:
            seed.write(new_approver_seed() + b"\n")
    except FileExistsError:
        raise exits.UsageError(f"{file}: there is a file already; a key is never overwritten") from None
    except OSError as error:
        raise PrivateFileError(file, error.strerror or type(error).__name__) from error
    _tell("public_key", read_key(file).public_key, as_json=json)
    return exits.OK


@approvals.command
def sign(  # noqa: D417  (groups of options say it themselves)
    capability: str,
    /,
    *sources: SOURCES,
    key: Path,
    fields: Fields = NO_FIELDS,
    scope: str = DEFAULT_SCOPE,
    data_class: DataClass = "internal",
    zone: Annotated[list[Zone] | None, Parameter(negative="")] = None,
    lifetime_s: int = LIFETIME_S_DEFAULT,
    json: JSON = False,
) -> int:
    """
    Approve one input: shows it whole on standard error, and prints the grant, to be sent along (ask --approval GRANT).

    Give what the caller gives to `flotilla ask` or `submit`, or the input itself as JSON. The grant is for this very
    input, capability, scope, data class and zone; whoever has it can use it until it expires, for nothing else.

    Parameters
    ----------
    capability
        What is to be done with it.
    sources
        Files, - for standard input, or JSON: the input.
    key
        The file with your seed, as `flotilla approvals key` made it.
    scope
        The tenant whose task it is.
    data_class
        Of the task.
    zone
        Where it may go: cloud, unless given; may be repeated.
    lifetime_s
        How long the grant is good; at most seven days.
    json
        Write for programs: one JSON object.
    """
    if not 1 <= lifetime_s <= LIFETIME_S_MAX:
        raise exits.UsageError(f"--lifetime-s {lifetime_s}: expected 1 to {LIFETIME_S_MAX}")
    if not is_name(capability) or not is_scope(scope):
        raise exits.UsageError("a capability is 1 to 63 of a-z0-9-, a scope 1 to 63 of A-Za-z0-9_-")
    wanted = plan(capability, sources, fields)
    if wanted.is_batch:
        raise exits.UsageError("a grant is for one input: give one FILE")
    [job] = wanted.jobs()
    body = msgspec.json.encode(job.body or {})
    try:
        own = read_key(key)
        digest = payload_digest(body)
    except CredentialsError as error:
        raise exits.UsageError(f"--key: {error}") from error
    except DecodeFailedError as error:
        raise exits.UsageError(str(error)) from error
    allowed = Grant(
        scope=scope,
        capability=capability,
        data_class=data_class,
        zones=list(dict.fromkeys(zone or ["cloud"])),
        input_sha256=digest,
        expires_unix_ms=unix_ms() + lifetime_s * 1000,
        nonce=secrets.token_hex(NONCE_BYTES),
        approver=own.public_key,
    )
    terminal.aside(msgspec.json.format(body).decode())
    terminal.aside(_summary(allowed))
    _tell("grant", own.sign(allowed), as_json=json)
    return exits.OK


@approvals.command
async def show(request: str, /, *, where: Where = NO_WHERE) -> int:  # noqa: D417  (groups of options say it themselves)
    """
    Show a request that waits, with the whole input that would leave; or say what a grant allows.

    Of a grant nothing needs a fleet; exits with 1 when its signature is not the approver's.

    Parameters
    ----------
    request
        Its id, as `flotilla approvals list` shows it; or a grant, as `flotilla approvals sign` printed it.
    """
    if re.search(ID, request):
        return await show_request(request, where)
    return _show_grant(request, as_json=where.json)


def _show_grant(grant: str, *, as_json: bool) -> int:
    try:
        given = read_grant(grant)
    except DecodeFailedError as error:
        neither = "neither the id of a request nor a grant; `flotilla approvals list` shows ids"
        raise exits.UsageError(f"{grant}: {neither} ({error})") from error
    good = is_signed(given)
    if as_json:
        terminal.json_line(msgspec.json.encode({"grant": given.grant, "signature_is_good": good}))
    else:
        terminal.write(_summary(given.grant) + "\n")
        terminal.aside(f"approver {given.grant.approver}, input {given.grant.input_sha256}")
        if not good:
            terminal.aside("the signature is not the approver's: no worker takes this grant")
    return exits.OK if good else exits.FAILED


def _tell(name: str, text: str, *, as_json: bool) -> None:
    if as_json:
        terminal.json_line(msgspec.json.encode({name: text}))
    else:
        terminal.write(text + "\n")


def _summary(grant: Grant) -> str:
    zones = " and ".join(grant.zones)
    return (
        f"{grant.capability} of {grant.data_class} data of the scope {grant.scope} in the {zones} zone, "
        f"until {moment(grant.expires_unix_ms)}"
    )
