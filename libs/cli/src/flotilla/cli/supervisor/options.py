"""What `flotilla up` can be told, and what of it makes no sense."""

from pathlib import Path
from typing import Final, Literal

from msgspec import Struct

from flotilla.cli.supervisor.errors import OptionError
from flotilla.contracts.fields import SLOTS_MAX
from flotilla.contracts.names import DEFAULT_SCOPE, REDACTION_POOL, is_name, is_scope
from flotilla.contracts.subjects import ZONES, Zone

Engine = Literal["auto", "embedded", "noop"]

ENGINES: Final[tuple[Engine, ...]] = ("auto", "embedded", "noop")
DIRECTORY_DEFAULT: Final = Path(".flotilla")
PORT_DEFAULT: Final = 4222
PORT_MAX: Final = 65_535
REPLICAS_MAX: Final = 256
LATENCY_MS_MAX: Final = 600_000.0
GRACE_S_DEFAULT: Final = 10.0
GRACE_S_MAX: Final = 86_400.0
SEALED_SCOPES_MAX: Final = 32
RESERVED_SCOPES: Final = ("FLEET", "SYS")
"""Accounts of the fleet's own."""
LOG_LEVELS: Final = ("debug", "info", "warning", "error")


class UpOptions(Struct, frozen=True, kw_only=True):
    """
    The options of `flotilla up`.

    Attributes:
        port: Of nats-server, on loopback; 0 takes a free one.
        directory: JetStream's files, logs and credentials; made when it is missing.
        orchestrators: 1 to REPLICAS_MAX; `local` and `cloud` replicas may be 0.
        redaction: Workers that redact and restore, in the pool `redaction`; 0 to REPLICAS_MAX.
        sealed: Orchestrators of the sealed lane; 0 to REPLICAS_MAX.
        sealed_scopes: Tenants, with commas between, that have the sealed lane alone: all that they send is sealed.
        slots: Of each worker; None leaves it to the workers.
        engine: `auto` uses an Ollama server and an API key where there is one; the embedded engine stands in only where
            there is neither.
        engine_latency_ms: Of the noop engine, as are the two below.
        engine_jitter: The fraction by which the latency varies, 0 to 1.
        engine_failure_rate: The fraction of the work that fails, 0 to 1.
        local_models: What the local workers use, with commas between, the preferred first; by default all that the
            Ollama server has. `nomic-embed-text=embed` serves only the capability after `=`.
        cloud_models: The same for the cloud workers; by default one model of the provider.
        pull: Have the Ollama server pull those of `local_models` that it has not, before anything is started.
        policy: A routing policy (TOML), put in force before the fleet is called ready.
        capabilities: A folder of users' capability files (TOML).
        pools: More pools, for workers of one's own that are started by hand: `triage`, or with its zone `cloud/mine`.
            They get credentials; nothing is started.
        portal: Whether it has a portal, where that is installed.
        portal_port: Of the portal, on loopback; 0 takes any free one, None its usual one if that is free.
        json: One line of JSON instead of the ready line.
        grace_s: How long a service may finish what it holds when the fleet is stopped.
    """

    port: int = PORT_DEFAULT
    directory: Path = DIRECTORY_DEFAULT
    orchestrators: int = 1
    local: int = 1
    cloud: int = 1
    redaction: int = 1
    sealed: int = 0
    sealed_scopes: str = ""
    slots: int | None = None
    engine: Engine = "auto"
    engine_latency_ms: float = 0.0
    engine_jitter: float = 0.0
    engine_failure_rate: float = 0.0
    local_models: str = ""
    cloud_models: str = ""
    pull: bool = False
    policy: Path | None = None
    capabilities: Path | None = None
    pools: tuple[str, ...] = ()
    portal: bool = False
    portal_port: int | None = None
    json: bool = False
    grace_s: float = GRACE_S_DEFAULT
    log_level: str = "info"


def pools_of(options: UpOptions) -> tuple[tuple[Zone, str], ...]:
    """
    Every pool that gets credentials: those that are started (two called after their zones), and those asked for.

    Raises:
        OptionError: A pool that cannot be one, or stands twice.
    """
    found: list[tuple[Zone, str]] = [("local", "local"), ("cloud", "cloud"), ("local", REDACTION_POOL)]
    for given in options.pools:
        zone, slash, name = given.rpartition("/")
        if (slash and zone not in ZONES) or not is_name(name):
            raise OptionError(f"--pool {given}: expected a name of a-z0-9-, or local/NAME or cloud/NAME")
        if any(name == other for _, other in found):
            raise OptionError(f"--pool {given}: there is a pool of this name already")
        found.append(("cloud" if zone == "cloud" else "local", name))
    return tuple(found)


def sealed_scopes_of(options: UpOptions) -> tuple[str, ...]:
    """
    The tenants that have the sealed lane alone.

    Raises:
        OptionError: One that cannot be a scope, or nobody who would serve them.
    """
    found = tuple(dict.fromkeys(part.strip() for part in options.sealed_scopes.split(",") if part.strip()))
    for scope in found:
        if not is_scope(scope) or scope in RESERVED_SCOPES:
            raise OptionError(f"--sealed-scopes {scope}: expected names of 1 to 63 of A-Za-z0-9_-, not FLEET or SYS")
    if len(found) > SEALED_SCOPES_MAX:
        raise OptionError(f"--sealed-scopes: expected at most {SEALED_SCOPES_MAX}")
    if found and not options.sealed:
        raise OptionError("--sealed-scopes: nobody would serve them; give --sealed 1 too")
    return found


def scopes_of(options: UpOptions) -> tuple[str, ...]:
    """Every tenant of the fleet: `default`, which a client without credentials is, and those of `sealed_scopes`."""
    return tuple(dict.fromkeys((DEFAULT_SCOPE, *sealed_scopes_of(options))))


def check(options: UpOptions) -> None:
    """
    Refuse what cannot be started.

    Raises:
        OptionError: Names the first option that is wrong, and what was expected.
    """
    _within("--port", options.port, 0, PORT_MAX)
    _within("--orchestrators", options.orchestrators, 1, REPLICAS_MAX)
    _within("--local", options.local, 0, REPLICAS_MAX)
    _within("--cloud", options.cloud, 0, REPLICAS_MAX)
    _within("--redaction", options.redaction, 0, REPLICAS_MAX)
    _within("--sealed", options.sealed, 0, REPLICAS_MAX)
    if options.slots is not None:
        _within("--slots", options.slots, 1, SLOTS_MAX)
    if options.portal_port is not None:
        _within("--portal-port", options.portal_port, 0, PORT_MAX)
    _one_of("--engine", options.engine, ENGINES)
    _within("--engine-latency-ms", options.engine_latency_ms, 0, LATENCY_MS_MAX)
    _within("--engine-jitter", options.engine_jitter, 0, 1)
    _within("--engine-failure-rate", options.engine_failure_rate, 0, 1)
    _within("--grace-s", options.grace_s, 0, GRACE_S_MAX)
    _one_of("--log-level", options.log_level, LOG_LEVELS)
    pools_of(options)
    sealed_scopes_of(options)
    if options.pull and not (options.local_models and options.local and options.engine == "auto"):
        raise OptionError("--pull: expected --local-models, and an engine that uses them (--engine auto)")
    if options.policy is not None and not options.policy.is_file():
        raise OptionError(f"--policy {options.policy}: there is no such file")
    if options.capabilities is not None and not options.capabilities.is_dir():
        raise OptionError(f"--capabilities {options.capabilities}: there is no such folder")
    if options.directory.exists() and not options.directory.is_dir():
        raise OptionError(f"--dir {options.directory}: not a folder")


def _within(name: str, value: float, least: float, most: float) -> None:
    # Written so that NaN is refused too.
    if not least <= value <= most:
        raise OptionError(f"{name} {value:g}: expected {least:g} to {most:g}")


def _one_of(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise OptionError(f"{name} {value}: expected one of {', '.join(allowed)}")
