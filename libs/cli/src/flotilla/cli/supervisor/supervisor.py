"""The whole fleet on one machine: what is started in which order, what is watched, and how it is drained."""

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from flotilla.chassis.errors import PrivateFileError
from flotilla.cli.supervisor import portal
from flotilla.cli.supervisor.child import Child, how_it_ended, stop_all
from flotilla.cli.supervisor.child_logs import keep_bounded, last_line
from flotilla.cli.supervisor.child_specs import MODULES, PORTAL, ChildSpecs, can_redact
from flotilla.cli.supervisor.directory import Directory
from flotilla.cli.supervisor.engines import Engines, choose
from flotilla.cli.supervisor.errors import NotReadyError
from flotilla.cli.supervisor.guardian import Guardian
from flotilla.cli.supervisor.models_here import installed_models
from flotilla.cli.supervisor.options import UpOptions, pools_of, scopes_of, sealed_scopes_of
from flotilla.cli.supervisor.readiness import Readiness, Wanted, watch_until_ready
from flotilla.cli.supervisor.server_keeper import ServerKeeper, embedded_server
from flotilla.cli.supervisor.signals import Stop
from flotilla.contracts.names import (
    ADMIN,
    DEFAULT_SCOPE,
    OBSERVER,
    ORCHESTRATOR,
    SEALED_ORCHESTRATOR,
    SEALED_PREFIX,
)
from flotilla.fabric.connection import NatsSettings
from flotilla.provisioning import roles
from flotilla.provisioning.credentials import load_or_create
from flotilla.provisioning.server_spec import users

READY_TIMEOUT_S: Final = 60.0
READY_PER_CHILD_S: Final = 2.0
DEATHS_BEFORE_READY_MAX: Final = 4
GRACE_MARGIN_S: Final = 5.0
PORTAL_TIMEOUT_S: Final = 30.0
PORTAL_POLL_S: Final = 0.1
EXIT_USAGE: Final = 2

Say = Callable[[str], None]
ApplyPolicy = Callable[[Path, NatsSettings], Awaitable[None]]
"""Puts the policy in a file in force, through the admin's connection; raises FlotillaError when it is not a policy."""


class FleetFacts(Struct, frozen=True, kw_only=True):
    """
    A running fleet, for programs.

    Attributes:
        dir: Absolute.
        pids: Process ids by `nats`, `orchestrator`, `local`, `cloud` and `redaction`, and `orchestrator-sealed` and `portal`
            where there are some, as of now.
        credentials: Paths of nkey seed files; of tenants those that have the sealed lane alone, as `tenant.<scope>`;
            where there is a sealed lane, its orchestrators'.
        portal: Where a browser finds the fleet; empty where it has no portal.
        portal_token: Path of the file with what one signs in there with.
    """

    url: str
    dir: str
    pids: dict[str, list[int]]
    credentials: dict[str, str]
    portal: str = ""
    portal_token: str = ""


class Supervisor:
    """Starts a fleet, keeps every part of it running, and stops it in order."""

    def __init__(self, options: UpOptions, directory: Directory, engines: Engines, *, lock_fd: int, say: Say) -> None:
        """
        Prepare a fleet; nothing is started.

        Args:
            options: Checked.
            directory: Made, and its lock held.
            engines: What serves each zone.
            lock_fd: Of the directory's lock.
            say: Tells people what happens, a line at a time.

        Raises:
            CredentialsError: A seed file cannot be used.
            PrivateFileError: The key of the vaults cannot be used.
            ServerNotFoundError: There is no nats-server.
        """
        self._options = options
        self._directory = directory
        self._engines = engines
        self._say = say
        self._pools = pools_of(options)
        names = users(scopes_of(options), self._pools, sealed=options.sealed > 0)
        self._credentials = load_or_create(directory.credentials, names)
        self._server = embedded_server(directory.server, options, self._credentials, self._pools)
        directory.make_vault_key()
        has_portal = options.portal and portal.can_serve()
        self._portal_socket = portal.hold_port(options.portal_port) if has_portal else None
        self._portal_port: int = self._portal_socket.getsockname()[1] if self._portal_socket is not None else 0
        if self._portal_port:
            directory.portal.make(self._credentials.path(roles.approver_user(DEFAULT_SCOPE)))
        self._specs = ChildSpecs(options, directory, engines, self._credentials, portal_socket=self._portal_socket)
        self._portal_runs = asyncio.Event()
        self._guardian = Guardian(lock_fd)
        self._keeper = ServerKeeper(self._server, self._guardian, self._on_server)
        self._children: dict[str, list[Child]] = {kind: [] for kind in MODULES}
        self._ready = False
        self._failed: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._bounding: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return self._server.url

    def facts(self) -> FleetFacts:
        """The fleet as it is at this moment."""
        pids = {
            kind: [child.pid for child in children if child.pid]
            for kind, children in self._children.items()
            if children or kind not in (SEALED_ORCHESTRATOR, PORTAL)
        }
        named = {ORCHESTRATOR: ORCHESTRATOR, "observer": OBSERVER, "admin": ADMIN}
        named |= {pool: roles.worker_user(zone, pool) for zone, pool in self._pools}
        sealed = {SEALED_ORCHESTRATOR: SEALED_ORCHESTRATOR} if self._options.sealed else {}
        tenants = {f"tenant.{scope}": roles.tenant_user(scope) for scope in sealed_scopes_of(self._options)}
        named |= tenants | sealed | {"approver": roles.approver_user(DEFAULT_SCOPE)}
        order = (ORCHESTRATOR, *(pool for _, pool in self._pools), "observer", "admin", "approver", *sealed, *tenants)
        return FleetFacts(
            url=self.url,
            dir=str(self._directory.path),
            pids={"nats": [self._server.pid] if self._server.pid else [], **pids},
            credentials={name: str(self._credentials.path(named[name])) for name in order},
            portal=self.portal_url,
            portal_token=str(self._directory.portal.token) if self.portal_url else "",
        )

    @property
    def portal_url(self) -> str:
        """Where a browser finds the fleet; empty where it has no portal."""
        return f"http://{portal.HOST}:{self._portal_port}" if self._portal_port else ""

    async def portal_ready(self) -> bool:
        """Return when the portal answers, or has not within PORTAL_TIMEOUT_S; says which."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PORTAL_TIMEOUT_S):
                while True:
                    if await portal.answers(self._portal_port):
                        return True
                    await asyncio.sleep(PORTAL_POLL_S)
        return False

    @property
    def engines(self) -> Engines:
        """What serves each zone."""
        return self._engines

    async def start(self, apply_policy: ApplyPolicy | None = None) -> None:
        """
        Start everything, and return when tasks will be served.

        Raises:
            ServerError: nats-server cannot be started.
            NotReadyError: A service cannot start, or the fleet was not ready in time.
            FlotillaError: The policy is none.
        """
        await self._guardian.start()
        await self._keeper.start()
        self._say(f"nats-server listens on {self.url}; everything it keeps is in {self._directory.path}")
        for kind, count in {**self._specs.orchestrators, **self._specs.workers}.items():
            self._children[kind] = [self._child(kind, number) for number in range(1, count + 1)]
        for child in self._all():
            child.start()
        self._bounding = asyncio.get_running_loop().create_task(keep_bounded(self._logs()))
        await self._until_ready()
        policy = self._options.policy
        if policy is not None and apply_policy is not None:
            await apply_policy(policy, self._settings(roles.admin()))
        self._ready = True
        if self._portal_port:
            await self._start_portal()
        self._write_state()

    async def _start_portal(self) -> None:
        """Last, so that the fleet is ready no later for it: only its process is waited for."""
        child = self._child(PORTAL, 1)
        self._children[PORTAL] = [child]
        child.start()
        await self._portal_runs.wait()

    async def drain(self, stop: Stop) -> None:
        """Stop the orchestrators and the portal first, then the workers that serve them, then nats-server."""
        self._ready = False
        if self._bounding is not None:
            self._bounding.cancel()
        timeout_s = self._options.grace_s + GRACE_MARGIN_S
        first = (PORTAL, ORCHESTRATOR, SEALED_ORCHESTRATOR)
        orchestrators = [child for kind in first for child in self._children[kind]]
        for group in (orchestrators, [*self._workers_running()]):
            if group:
                await stop_all(group, timeout_s=timeout_s, hurry=stop.hurry)
        await self._keeper.stop()
        await self._guardian.stop()
        if self._portal_socket is not None:
            self._portal_socket.close()

    def _child(self, kind: str, number: int) -> Child:
        return Child(self._specs.spec(kind, number, nats_url=self.url), self._guardian, self._on_child)

    def _all(self) -> list[Child]:
        return [child for children in self._children.values() for child in children]

    def _logs(self) -> list[Path]:
        """Of every child, the portal that starts last included."""
        return [*(child.spec.log for child in self._all()), self._directory.log(f"{PORTAL}-1")]

    def _workers_running(self) -> list[Child]:
        return [child for kind in self._specs.workers for child in self._children[kind]]

    def _settings(self, role: roles.Role) -> NatsSettings:
        return NatsSettings(url=self.url, creds=self._credentials.path(role.user), inbox_prefix=role.inbox_prefix)

    async def _until_ready(self) -> None:
        options = self._options
        replicas = self._specs.replicas
        readiness = Readiness(Wanted(orchestrators=options.orchestrators, replicas=replicas))
        sealed = Readiness(Wanted(orchestrators=options.sealed, replicas={"local": replicas["local"]}), lane="sealed ")
        asked_there = "api.status" if DEFAULT_SCOPE in sealed_scopes_of(options) else f"{SEALED_PREFIX}api.status"
        watching = asyncio.gather(
            watch_until_ready(self._settings(roles.observer()), readiness),
            watch_until_ready(NatsSettings(url=self.url), sealed, subject=asked_there),
        )
        timeout_s = READY_TIMEOUT_S + READY_PER_CHILD_S * len(self._all())
        try:
            done, _ = await asyncio.wait(
                (watching, self._failed), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
        if self._failed in done:
            raise NotReadyError(self._failed.result())
        if not done:
            missing = sealed.missing if readiness.is_ready else readiness.missing
            raise NotReadyError(f"not ready after {timeout_s:g} s, missing: {missing} (see {self._directory.logs})")

    def _on_server(self, event: str) -> None:
        self._say(event)
        self._write_state()

    def _on_child(self, child: Child, event: str) -> None:
        if child.spec.name.startswith(PORTAL):
            self._portal_runs.set()
        if event and not self._ready:
            self._look_for_a_reason(child)
        if event and not self._failed.done():
            self._say(event)
        self._write_state()

    def _look_for_a_reason(self, child: Child) -> None:
        """A child that dies again and again, or that refuses its settings, will not mend itself while we wait."""
        hopeless = child.last_status == EXIT_USAGE or child.deaths >= DEATHS_BEFORE_READY_MAX
        if hopeless and not self._failed.done():
            said = last_line(child.spec.log)
            why = f": {said}" if said else ""
            ended = how_it_ended(child.last_status)
            self._failed.set_result(f"{child.spec.name} {ended}{why} (see {child.spec.log})")

    def _write_state(self) -> None:
        if self._ready:
            with suppress(PrivateFileError):  # a full disk; the fleet goes on
                self._directory.write_state(msgspec.json.encode(self.facts()))


@asynccontextmanager
async def supervised(options: UpOptions, stop: Stop, say: Say) -> AsyncGenerator[Supervisor, None]:
    """
    Prepare a fleet, to be started while the block runs, and drain it when the block ends.

    Raises:
        OptionError: The directory, or the address of the server of models, cannot be used.
        FleetRunningError: A fleet runs on the directory.
        CredentialsError: A seed file cannot be used.
        ServerNotFoundError: There is no nats-server.
    """
    directory = Directory(options.directory)
    directory.make()
    async with directory.held() as lock_fd:
        installed = await installed_models(os.environ) if options.engine == "auto" and options.local else None
        engines = choose(
            options.engine,
            os.environ,
            installed,
            local_models=options.local_models if options.local else "",
            cloud_models=options.cloud_models if options.cloud else "",
        )
        for note in engines.notes:
            say(note)
        if options.portal and not portal.can_serve():
            say("portal: what it needs is not installed; pip install flotilla-portal mends it")
        if options.redaction and not can_redact():
            say("redact: what it needs is not installed; pip install 'flotilla-local-inference[redaction]' mends it")
        tuned = options.engine_latency_ms or options.engine_jitter or options.engine_failure_rate
        if tuned and options.engine != "noop":
            say("the --engine-... options are for --engine noop; they change nothing here")
        supervisor = Supervisor(options, directory, engines, lock_fd=lock_fd, say=say)
        try:
            yield supervisor
        finally:
            await supervisor.drain(stop)
