"""One run: listen, send, wait for what comes late, look at what is stored, and remove the traces."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from flotilla.cli.prove.canaries import Canaries
from flotilla.cli.prove.clean_up import clean_up
from flotilla.cli.prove.metrics import read_metrics
from flotilla.cli.prove.places import STORES
from flotilla.cli.prove.plan import Plan, plan_for
from flotilla.cli.prove.sealed import SealedLane, sealed_lane
from flotilla.cli.prove.stores import look_into, marked
from flotilla.cli.prove.trial import REDACTED, Trial
from flotilla.cli.prove.verdict import Run
from flotilla.cli.prove.watch import LogReader, VaultReader, Watch
from flotilla.client.fleet import Fleet
from flotilla.contracts import subjects
from flotilla.contracts.names import ADMIN
from flotilla.fabric.connection import NatsSettings, connected
from flotilla.fabric.inbox import Requests
from flotilla.routing.policy_check import parse_policy

SETTLE_S: Final = 3.0
"""After the last answer: heartbeats come every two seconds, and events, statistics and logs are written behind."""
RUN_BYTES: Final = 4


class Proof(Struct, frozen=True, kw_only=True):
    """
    What is to be proven, and with whose eyes.

    Attributes:
        settings: The connection of the fleet's admin.
        scope: Whose tasks they are.
        documents: How many letters are sent.
        capabilities: That are tried besides those of the live pools, such as pipelines.
        timeout_s: For all of the letters together.
        logs: Folders with the logs of a fleet on this machine.
        sealed_creds: Of an orchestrator of the sealed lane, where there is one.
        files: Other files and folders that may take something in meanwhile.
        metrics: Addresses of metrics endpoints.
        vault_stores: JetStream's folders of servers on this machine, in which the vaults are.
    """

    settings: NatsSettings
    scope: str
    documents: int
    capabilities: tuple[str, ...] = ()
    timeout_s: float
    logs: Sequence[Path] = ()
    sealed_creds: Path | None = None
    files: Sequence[Path] = ()
    metrics: Sequence[str] = ()
    vault_stores: Sequence[Path] = ()


async def prove(proof: Proof, advance: Callable[[], None]) -> Run:
    """
    Run it; `advance` is called for each letter.

    Raises:
        NoFleetError: Nobody answers.
        TaskError: The fleet refuses to say what its policy is.
    """
    settings = proof.settings
    canaries = Canaries()
    watch = Watch(canaries)
    logs, vaults = LogReader(proof.logs, proof.files), VaultReader(proof.vault_stores)
    began_at = time.monotonic()
    async with (
        Fleet.connect(
            settings.url,
            creds=settings.creds,
            tls_ca=settings.tls_ca,
            scope=proof.scope,
            inbox_prefix=subjects.inbox_prefix(ADMIN),
            connect_patience_s=settings.connect_patience_s,
            name="flotilla-prove",
        ) as fleet,
        connected(settings, name="flotilla-prove-watch") as connection,
        AsyncExitStack() as stack,
    ):
        plan = await _plan(fleet, proof.capabilities)
        run = f"prove-{secrets.token_hex(RUN_BYTES)}"
        sealed = await stack.enter_async_context(_sealed(proof, watch, run))
        trial = Trial(fleet, plan, canaries, watch, run=run, sealed=sealed)
        requests = Requests(connection)
        await requests.start()
        try:
            marks = await marked(requests, proof.scope)
            await watch.listen(connection)
            await _send(trial, proof, advance)
            await asyncio.sleep(SETTLE_S)
            await look_into(requests, proof.scope, marks, watch, STORES)
            if sealed is not None:
                await sealed.look()
            await asyncio.to_thread(logs.read_into, watch)
            await asyncio.to_thread(vaults.read_into, watch)
            unread = await asyncio.to_thread(read_metrics, proof.metrics, watch)
        finally:
            interrupted = connection.reconnects > 0
            left = await clean_up(fleet, requests, proof.scope, trial.tasks)
            await requests.stop()
    return Run(
        wanted=proof.documents,
        documents=trial.documents,
        served=trial.served,
        decoys_served=trial.decoys,
        decoys_heard=watch.decoys,
        interrupted=interrupted,
        left=left,
        unread=unread,
        untried=trial.untried,
        vaults_wanted=bool(proof.vault_stores) and REDACTED in trial.ends and trial.ends[REDACTED]["ok"] > 0,
        elapsed_s=time.monotonic() - began_at,
        ends=trial.ends,
        sights=watch.sights(),
    )


@asynccontextmanager
async def _sealed(proof: Proof, watch: Watch, run: str) -> AsyncGenerator[SealedLane | None]:
    if proof.sealed_creds is None:
        yield None
        return
    settings = msgspec.structs.replace(proof.settings, creds=proof.sealed_creds)
    async with sealed_lane(settings, watch, scope=proof.scope, run=run) as lane:
        yield lane


async def _plan(fleet: Fleet, capabilities: tuple[str, ...]) -> Plan:
    status = await fleet.status()
    in_force = await fleet.policy.get()
    return plan_for(status.pools, parse_policy(in_force.toml) if in_force.revision else None, capabilities)


async def _send(trial: Trial, proof: Proof, advance: Callable[[], None]) -> None:
    try:
        async with asyncio.timeout(proof.timeout_s):
            await trial.run(proof.documents, advance)
    except TimeoutError:
        return  # what was not sent is missing in the count
