"""
Documents with canaries through a fleet that is killed meanwhile, to a cloud provider that is recorded.

Every way that a task can go (see `flotilla.cli.prove.trial`), with debug logs, traces and metrics. `CANARY_TASKS` says how
many documents; the seed is in the failing test's output (`seed=`), and `CHAOS_SEED` runs it again.
"""

import asyncio
import contextlib
import json
import os
import random
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from flotilla.cli.prove.canaries import Canaries
from flotilla.cli.prove.places import CACHE, CLOUD_LANES, TASK_STREAM
from flotilla.cli.prove.plan import plan_for
from flotilla.cli.prove.trial import Trial
from flotilla.cli.prove.watch import Watch
from flotilla.client.fleet import Fleet
from flotilla.contracts.errors import FlotillaError
from flotilla.contracts.policy import Policy
from flotilla.contracts.subjects import Zone
from flotilla.fabric.connection import connected
from flotilla.inference.redaction.vault_keys import new_key
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.fleet_process import FleetProcess
from flotilla.testkit.otlp_collector import SPANS_MAX, OtlpCollector, otlp_collector
from flotilla.testkit.probe_client import PROBED, probe_of
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Fails, Received, Says, Step

TASKS_DEFAULT: Final = 500
KEY: Final = "sk-canaries"
POOLS: tuple[tuple[Zone, str], ...] = (
    ("local", "local"),
    ("local", "spare"),
    ("local", "redaction"),
    ("cloud", "cloud"),
    ("cloud", "other"),
)
POLICY: Final = """
[default]
strategy = "failover"
routes = [{ pool = "cloud" }, { pool = "other" }, { pool = "local" }, { pool = "spare" }, { pool = "redaction" }]
cache = { ttl_s = 600 }

[capabilities.classify]
strategy = "consensus"
strategy_options = { ask = 2, agree = 2 }
routes = [{ pool = "cloud" }, { pool = "other" }, { pool = "local" }, { pool = "spare" }]

[capabilities.summarize]
hedge = { after_ms = 5, share_max = 0.5 }
shadow = { pool = "cloud", share = 1.0 }

[capabilities.translate]
routes = [{ pool = "spare" }, { pool = "local" }]
shadow = { pool = "other", share = 1.0 }
"""
"""What has others asked as well: a panel, a hedge, a shadow, and answers that are kept."""
GATED: Final = """
name = "gated"
[input]
type = "object"
[steps.hide]
capability = "redact"
input = { document = "${input.document}" }
[steps.sum]
capability = "summarize"
approval = { expires_s = 30 }
input = { document = "${steps.hide.document}", max_words = 20 }
[steps.show]
capability = "restore"
input = { document = "${steps.sum.summary}", vault = "${steps.hide.vault}" }
[output]
summary = "${steps.show.document}"
"""
DECIDED_EVERY_S: Final = 0.3
LATENCY_MS: Final = 20.0
FAILURE_RATE: Final = 0.05
PROVIDER_FAILS: Final = 0.1
SETTLE_S: Final = 4.0
"""Two heartbeats, and what is written behind."""


class Start(Protocol):
    """Starts a process; with `wait`, gives it when it serves."""

    def __call__(self, *, wait: bool) -> Awaitable[FleetProcess]: ...


class Recorder:
    """
    The provider's side: what it was sent.

    Attributes:
        requests: How many.
        leaks: How many of them held a canary.
        decoys: How many held a decoy: so a canary would have been found.
    """

    def __init__(self, canaries: Canaries, luck: random.Random) -> None:
        self._canaries = canaries
        self._luck = luck
        self.requests = 0
        self.leaks = 0
        self.decoys = 0

    def answer(self, received: Received) -> Step:
        """Look at a request, and answer it or fail, with a message that quotes it."""
        sent = json.dumps([received.body, dict(received.headers)], default=str).encode()
        self.requests += 1
        self.leaks += self._canaries.are_in(sent)
        self.decoys += self._canaries.decoy_is_in(sent)
        if self._luck.random() < PROVIDER_FAILS:
            return Fails(self._luck.choice([429, 500, 503]), message=sent.decode()[:500])
        return Says("All is well.")


class Scene:
    """
    The fleet, with everybody who could see something.

    Attributes:
        killed: What was killed, by kind, in order.
        granted: How many steps an approver has let out.
    """

    def __init__(self, fleet: RunningFleet, canaries: Canaries, recorder: Recorder, collector: OtlpCollector) -> None:
        self.fleet: Final = fleet
        self.canaries: Final = canaries
        self.recorder: Final = recorder
        self.collector: Final = collector
        self.watch: Final = Watch(canaries)
        self.killed: Final[list[str]] = []
        self.granted = 0
        self._starts: Final[dict[str, Start]] = {}
        self._alive: Final[dict[str, FleetProcess]] = {}

    async def add(self, kind: str, start: Start) -> None:
        """Start a process that may be killed, and is started again then."""
        self._starts[kind] = start
        self._alive[kind] = await start(wait=True)

    async def kill_one(self, luck: random.Random) -> None:
        """Kill any of them, and start another in its place."""
        kind = luck.choice(list(self._alive))
        victim = self._alive[kind]
        victim.kill()
        await victim.wait()
        self.killed.append(kind)
        self._alive[kind] = await self._starts[kind](wait=False)

    async def approve(self) -> None:
        """Grant whatever waits, until cancelled."""
        settings = self.fleet.server.approver()
        connecting = Fleet.connect(settings.url, creds=settings.creds, inbox_prefix=settings.inbox_prefix)
        async with connecting as approver:
            while True:
                with contextlib.suppress(FlotillaError):  # it is killed meanwhile
                    for waiting in await approver.approvals.list():
                        await approver.approvals.grant(waiting, by="ann")
                        self.granted += 1
                await asyncio.sleep(DECIDED_EVERY_S)

    async def documents_with_canaries(self) -> dict[str, int]:
        """Where any was seen, and how many."""
        found = {sight.place: sight.leaks for sight in self.watch.sights() if sight.leaks}
        found["provider"] = self.recorder.leaks
        found["collector"] = sum(map(self.canaries.are_in, self.collector.bodies))
        for process in self.fleet.processes:
            found[f"log of {process.name}"] = self.canaries.are_in(process.log.read_bytes())
            if process.is_running:
                with contextlib.suppress(LookupError):  # it has just been started
                    told = (await probe_of(process).get("/metrics"))[1]
                    found[f"metrics of {process.name}"] = self.canaries.are_in(told.encode())
        for log in (self.fleet.directory / "nats").glob("*.log"):
            found[log.name] = self.canaries.are_in(log.read_bytes())
        return {place: count for place, count in found.items() if count}


@asynccontextmanager
async def scene(tmp_path: Path, luck: random.Random) -> AsyncGenerator[Scene]:
    """Two orchestrators, two local pools, two cloud pools at a recorded provider, and two that redact."""
    canaries = Canaries()
    recorder = Recorder(canaries, luck)
    async with otlp_collector() as collector, OpenAIServer(api_key=KEY) as provider:
        provider.otherwise = recorder.answer
        debug = {
            "FLOTILLA_LOG_LEVEL": "debug",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            **PROBED,
        }
        capabilities = tmp_path / "capabilities"
        capabilities.mkdir()
        (capabilities / "gated.toml").write_text(GATED)
        debug["FLOTILLA_CAPABILITY_FILES"] = str(capabilities)
        redacts = {**debug, "FLOTILLA_VAULT_KEY": new_key()}
        paid = {
            **debug,
            "OPENAI_API_KEY": KEY,
            "OPENAI_BASE_URL": f"{provider.url}/v1",
            "FLOTILLA_MODELS": "m",
        }
        fleet_of = running_fleet(tmp_path, orchestrators=1, local=0, pools=POOLS, vault_pools=("redaction",), env=debug)
        async with fleet_of as fleet:
            stage = Scene(fleet, canaries, recorder, collector)
            # The first of each is never killed, so that there is always somebody.
            for pool in ("local", "redaction"):
                engine, env = ("redaction", redacts) if pool == "redaction" else ("noop", debug)
                await fleet.start_worker("local", pool, engine=engine, env=env)
            await fleet.start_worker("cloud", "cloud", engine="openai", env=paid)
            start, noop = fleet.start_worker, {"latency_ms": LATENCY_MS, "jitter": 0.9, "failure_rate": FAILURE_RATE}
            await stage.add("orchestrator", fleet.start_orchestrator)
            await stage.add("local", partial(start, "local", "local", env=debug, **noop))
            await stage.add("spare", partial(start, "local", "spare", env=debug, **noop))
            await stage.add("redaction", partial(start, "local", "redaction", engine="redaction", env=redacts))
            await stage.add("cloud", partial(start, "cloud", "other", engine="openai", env=paid))
            yield stage


async def tried(stage: Scene, documents: int, *, policy: str = "") -> Trial:
    """Send so many documents, while everything is watched."""
    admin = stage.fleet.server.admin()
    async with Fleet.connect(stage.fleet.url) as fleet, connected(admin, name="watch") as connection:
        await fleet.policy.set(POLICY + policy, force=True)
        plan = plan_for((await fleet.status()).pools, Policy(), ("gated",))
        trial = Trial(fleet, plan, stage.canaries, stage.watch, run="canaries")
        await stage.watch.listen(connection)
        await trial.run(documents, lambda: None)
        await asyncio.sleep(SETTLE_S)
        assert 0 == connection.reconnects
    return trial


async def test_no_canary_leaves_the_local_zone_while_everything_is_killed(tmp_path: Path):
    """
    Not to the provider, a cloud worker, an event, a log, a metric or a trace; and what may go there has gone there.
    """
    documents = int(os.environ.get("CANARY_TASKS", TASKS_DEFAULT))
    seed = int(os.environ.get("CHAOS_SEED", random.SystemRandom().randrange(10**6)))
    luck = random.Random(seed)
    pace = max(1.0, documents / TASKS_DEFAULT)  # a long run is not all starting of processes
    async with scene(tmp_path, luck) as stage:

        async def trouble() -> None:
            while True:
                await stage.kill_one(luck)
                await asyncio.sleep(luck.uniform(0.1, 1.0) * pace)

        beside = [asyncio.ensure_future(each) for each in (trouble(), stage.approve())]
        try:
            trial = await tried(stage, documents)
        finally:
            for each in beside:
                each.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
        ends = {way: dict(count) for way, count in trial.ends.items()}
        story = f"seed={seed} {len(stage.killed)} killed, {stage.recorder.requests} sent to the provider, {ends}"
        sights = {sight.place: sight for sight in stage.watch.sights()}
        print(story, sights)  # noqa: T201  (the record of a long run)

        assert {} == await stage.documents_with_canaries(), story
        assert documents == trial.documents
        assert stage.killed, story
        # It would have been seen.
        assert stage.recorder.decoys >= trial.decoys > 0, story
        assert stage.watch.decoys >= trial.decoys, story
        assert sights[CLOUD_LANES].messages > stage.watch.decoys, story
        assert sights[TASK_STREAM].at_home > documents / 5, story
        for place in ("dead letters", "suspended", "inputs of approvals", "audit", CACHE):
            assert sights[place].messages > 0, (place, story)
        assert stage.granted, story
        assert 0 < len(stage.collector.spans) < SPANS_MAX, story
        assert trial.served > documents / 2, story


async def test_a_canary_that_leaves_is_seen_by_all_who_get_it(tmp_path: Path):
    """
    Where the policy leaves e-mail addresses in redacted documents: by the provider, and on the lanes to it.
    """
    async with scene(tmp_path, random.Random(1)) as stage:
        await tried(stage, 60, policy='[redaction]\noff = ["EMAIL"]\n')
        found = await stage.documents_with_canaries()

    assert {"provider", CLOUD_LANES} <= found.keys(), found
