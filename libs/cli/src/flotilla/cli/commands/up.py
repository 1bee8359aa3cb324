"""`flotilla up`: run a whole fleet on this machine."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from flotilla.cli.supervisor.options import (
    DIRECTORY_DEFAULT,
    GRACE_S_DEFAULT,
    PORT_DEFAULT,
    Engine,
    UpOptions,
)


def up(
    *,
    port: int = PORT_DEFAULT,
    directory: Annotated[Path, Parameter(name="--dir")] = DIRECTORY_DEFAULT,
    orchestrators: int = 1,
    local: int = 1,
    cloud: int = 1,
    redaction: int = 1,
    sealed: int = 0,
    sealed_scopes: Annotated[str, Parameter(env_var="FLOTILLA_SEALED_SCOPES")] = "",
    slots: int | None = None,
    engine: Engine = "auto",
    engine_latency_ms: float = 0.0,
    engine_jitter: float = 0.0,
    engine_failure_rate: float = 0.0,
    policy: Path | None = None,
    capabilities: Path | None = None,
    local_models: str = "",
    cloud_models: str = "",
    pull: Annotated[bool, Parameter(negative="")] = False,
    pool: Annotated[list[str] | None, Parameter(negative="")] = None,
    portal: bool = True,
    portal_port: int | None = None,
    grace_s: float = GRACE_S_DEFAULT,
    log_level: str = "info",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """
    Run a whole fleet on this machine, until Ctrl-C.

    A real nats-server with the accounts and roles of production, on loopback, and the services as processes of their
    own; what dies is started again. Prints a line once tasks will be served, and one with the portal's address. Ctrl-C
    drains, and a second one does not wait.

    Parameters
    ----------
    port
        Of nats-server; 0 takes a free one.
    directory
        JetStream's files, logs and credentials. Accepted tasks are there when it is started again.
    orchestrators
        How many.
    local
        Replicas of the local pool.
    cloud
        Replicas of the cloud pool.
    redaction
        Workers that redact and restore.
    sealed
        Orchestrators of the sealed lane, which no cloud worker can be reached from.
    sealed_scopes
        Tenants, with commas between, that have the sealed lane alone: all that they send is sealed. `default` is who has
        no credentials; the others get a file each in the folder's credentials.
    slots
        Of each worker: how many tasks it takes at a time.
    engine
        auto uses an Ollama server and an API key where there is one, and the embedded engine only where there is
        neither; noop answers anything at once, for tests and measurements.
    engine_latency_ms
        Of the noop engine.
    engine_jitter
        Of the noop engine: by what fraction its latency varies.
    engine_failure_rate
        Of the noop engine: what fraction of the work fails.
    policy
        A routing policy (TOML), in force before the fleet is called ready.
    capabilities
        A folder of capabilities of your own (TOML).
    local_models
        What the local workers use, with commas between; by default all that the Ollama server has.
    cloud_models
        The same for the cloud workers; by default one model of the provider.
    pull
        Have the Ollama server pull those of --local-models that it has not, before the fleet starts.
    pool
        One more pool, for workers of your own that you start yourself: it gets credentials. May be repeated.
    portal
        The fleet in a browser, on loopback; its address is the second line that is printed.
    portal_port
        Of the portal; 8642 or another free one, unless given.
    grace_s
        How long a service may finish what it holds when the fleet is stopped.
    log_level
        Of the services: debug, info, warning or error.
    json
        One line of JSON in place of the ready line: URL, process ids, credentials.
    """
    from flotilla.cli.up import up as run  # noqa: PLC0415  (--help needs no supervisor)

    return run(
        UpOptions(
            port=port,
            directory=directory,
            orchestrators=orchestrators,
            local=local,
            cloud=cloud,
            redaction=redaction,
            sealed=sealed,
            sealed_scopes=sealed_scopes,
            slots=slots,
            engine=engine,
            engine_latency_ms=engine_latency_ms,
            engine_jitter=engine_jitter,
            engine_failure_rate=engine_failure_rate,
            policy=policy,
            capabilities=capabilities,
            local_models=local_models,
            cloud_models=cloud_models,
            pull=pull,
            pools=tuple(pool or ()),
            portal=portal,
            portal_port=portal_port,
            json=json,
            grace_s=grace_s,
            log_level=log_level,
        )
    )
