"""`flotilla privacy`: whether what must stay in the local zone stays there."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec
from cyclopts import App, Parameter

from flotilla.cli.console import exits, terminal
from flotilla.cli.console.arguments import CONNECT_PATIENCE_S, NO_WHERE, Where
from flotilla.cli.console.examples import examples_of
from flotilla.cli.console.outcomes import progress
from flotilla.cli.console.readable import counted
from flotilla.cli.console.tables import table
from flotilla.client.addresses import DEFAULT_URL
from flotilla.contracts.names import ADMIN, DEFAULT_SCOPE, SEALED_ORCHESTRATOR, is_name

if TYPE_CHECKING:
    from flotilla.cli.prove.prove import Proof
    from flotilla.cli.prove.verdict import Run
    from flotilla.cli.supervisor.supervisor import FleetFacts

privacy: Final = App(name="privacy", help_format="plaintext", help_epilogue=examples_of("privacy"))

DIRECTORY_DEFAULT: Final = Path(".flotilla")
TASKS_DEFAULT: Final = 100
TASKS_MAX: Final = 10_000
TIMEOUT_S_DEFAULT: Final = 300.0
TIMEOUT_S_MAX: Final = 86_400.0
_STATE: Final = "fleet.json"


@privacy.command
async def prove(  # noqa: D417  (groups of options say it themselves)
    *,
    tasks: int = TASKS_DEFAULT,
    timeout_s: float = TIMEOUT_S_DEFAULT,
    capability: Annotated[list[str] | None, Parameter(negative="")] = None,
    directory: Annotated[Path, Parameter(name="--dir")] = DIRECTORY_DEFAULT,
    sealed_creds: Path | None = None,
    read: Annotated[list[Path] | None, Parameter(negative="")] = None,
    metrics: Annotated[list[str] | None, Parameter(negative="")] = None,
    vault_store: Path | None = None,
    where: Where = NO_WHERE,
) -> int:
    """
    Send documents with made-up persons through the fleet that is up, and look for them wherever they must not be.

    Names, addresses and accounts that nobody can guess travel as restricted tasks of every capability, through redaction
    and back, into retries, refusals and dead letters. Meanwhile this listens, as the fleet's admin, to every cloud lane,
    to events, results, dead letters and heartbeats, looks into every stream and bucket, and reads the logs of a fleet on
    this machine, and files and metrics that you name. What it leaves in the fleet is removed. Exit code 0 when it is
    proven, 1 when something came to light or could not be seen.

    Parameters
    ----------
    tasks
        How many documents are sent; each is a task or several.
    timeout_s
        For all of them together.
    capability
        One more that takes {"document": text}, such as a pipeline of yours. May be repeated.
    directory
        Of a fleet of `flotilla up`, whose admin's credentials and logs are there.
    sealed_creds
        Of an orchestrator of the sealed lane: it is tried as well, and all of its stores are looked into.
    read
        A file or folder that logs or traces are collected in (OpenTelemetry's collector writes traces to a file); what
        is written there meanwhile is looked through. May be repeated.
    metrics
        The address of a metrics endpoint, such as http://127.0.0.1:9090/metrics; looked through at the end. May be
        repeated.
    vault_store
        JetStream's folder of a NATS server on this machine: the vaults' blocks there may hold ciphertext alone. That of a
        fleet of `flotilla up` is found.
    """
    from flotilla.cli.prove.prove import prove as run  # noqa: PLC0415  (--help needs no NATS client)
    from flotilla.cli.prove.verdict import faults  # noqa: PLC0415

    if not 1 <= tasks <= TASKS_MAX:
        raise exits.UsageError(f"--tasks {tasks}: expected 1 to {TASKS_MAX}")
    if not 0 < timeout_s <= TIMEOUT_S_MAX:
        raise exits.UsageError(f"--timeout-s {timeout_s:g}: expected more than 0, and at most {TIMEOUT_S_MAX:g}")
    for name in capability or ():
        if not is_name(name):
            raise exits.UsageError(f"--capability {name}: expected 1 to 63 of a-z0-9-")
    _check_places(read or (), metrics or (), vault_store)
    seen = (tuple(read or ()), tuple(metrics or ()))
    proof = _proof(where, directory, Tried(tasks, tuple(capability or ()), timeout_s, sealed_creds, vault_store, *seen))
    with progress(tasks, shown=not where.json) as advance:
        done = await run(proof, advance)
    found = faults(done)
    if where.json:
        terminal.json_line(msgspec.json.encode({"proven": not found, "faults": found, "run": done}))
    else:
        _show(done, found)
    return exits.FAILED if found else exits.OK


def _check_places(read: Sequence[Path], metrics: Sequence[str], vault_store: Path | None) -> None:
    from flotilla.cli.prove.metrics import is_endpoint  # noqa: PLC0415

    for path in read:
        if not path.exists():
            raise exits.UsageError(f"--read {path}: no such file or folder")
    if vault_store is not None and not vault_store.is_dir():
        raise exits.UsageError(f"--vault-store {vault_store}: no such folder")
    for url in metrics:
        if not is_endpoint(url):
            raise exits.UsageError(f"--metrics {url}: expected http://HOST:PORT/PATH")


class Tried(NamedTuple):
    """What the options say; see the command."""

    tasks: int
    capabilities: tuple[str, ...]
    timeout_s: float
    sealed_creds: Path | None
    vault_store: Path | None
    files: tuple[Path, ...]
    metrics: tuple[str, ...]


def _proof(where: Where, directory: Path, tried: Tried) -> "Proof":
    from flotilla.cli.prove.prove import Proof  # noqa: PLC0415
    from flotilla.contracts import subjects  # noqa: PLC0415
    from flotilla.fabric.connection import URL_EXPECTED, NatsSettings, is_url  # noqa: PLC0415

    facts = _facts(directory)
    if where.creds is None and facts is None:
        raise exits.UsageError(
            f"{directory} is of no fleet that runs: name the folder of `flotilla up` with --dir, "
            "or the credentials of the fleet's admin with --creds"
        )
    url, creds = where.url, where.creds
    if creds is None and facts is not None:
        creds = Path(facts.credentials[ADMIN])
        url = facts.url if url == DEFAULT_URL else url
    if not is_url(url):
        raise exits.UsageError(f"--url (or FLOTILLA_NATS_URL): {URL_EXPECTED}")
    own = facts is not None and facts.url == url
    sealed_creds = tried.sealed_creds
    if sealed_creds is None and own and facts is not None and SEALED_ORCHESTRATOR in facts.credentials:
        sealed_creds = Path(facts.credentials[SEALED_ORCHESTRATOR])
    return Proof(
        settings=NatsSettings(
            url=url,
            creds=creds,
            tls_ca=where.tls_ca,
            inbox_prefix=subjects.inbox_prefix(ADMIN),
            connect_patience_s=CONNECT_PATIENCE_S,
        ),
        scope=where.scope or DEFAULT_SCOPE,
        documents=tried.tasks,
        capabilities=tried.capabilities,
        timeout_s=tried.timeout_s,
        logs=(directory / "logs", directory / "nats") if own else (),
        sealed_creds=sealed_creds,
        files=tried.files,
        metrics=tried.metrics,
        vault_stores=(tried.vault_store,) if tried.vault_store else (directory / "nats" / "jetstream",) if own else (),
    )


def _facts(directory: Path) -> "FleetFacts | None":
    from flotilla.cli.supervisor.supervisor import FleetFacts  # noqa: PLC0415

    try:
        return msgspec.json.decode((directory / _STATE).read_bytes(), type=FleetFacts)
    except (OSError, msgspec.MsgspecError):
        return None


def _show(done: "Run", found: list[str]) -> None:
    from flotilla.cli.prove.verdict import status_of  # noqa: PLC0415

    table(
        ("way", "tasks", "ended"),
        [
            (way, f"{sum(ends.values()):,}", ", ".join(f"{count} {end}" for end, count in sorted(ends.items())))
            for way, ends in done.ends.items()
        ],
    )
    terminal.write("\n")
    table(
        ("place", "messages", "canaries", "at home", "status"),
        [
            (sight.place, f"{sight.messages:,}", f"{sight.leaks:,}", f"{sight.at_home:,}", status_of(sight))
            for sight in done.sights
        ],
    )
    terminal.write("\n")
    if done.left:
        terminal.aside(
            f"{counted(done.left, 'task')} could not be cleaned up: results and dead letters stay until they expire"
        )
    if found:
        terminal.error(found)
    else:
        terminal.write(
            f"proven: of {done.documents:,} documents no canary came to light outside ({done.elapsed_s:.1f} s)\n"
        )
