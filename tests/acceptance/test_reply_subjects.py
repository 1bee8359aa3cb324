"""
Nobody outside the fleet's own account has anything answered on a subject of the fleet.

NATS checks no reply subject: whoever may ask anything can name any subject as the place for the answer, and whoever
answers publishes there with rights of his own. So each member asks and says everything that it may, with every subject
of the fleet as the reply subject and as the place for a trace, and nothing may arrive there.
"""

import asyncio
import json

import pytest

from flotilla.fabric.connection import NatsSettings
from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import BODIES, PlainClient

pytestmark = pytest.mark.asyncio(loop_scope="session")

MARK = "aimed-at"
AIMS = (
    f"$KV.policy.{MARK}",
    f"$KV.stats.{MARK}",
    f"$KV.presence.local.slow.{MARK}",
    f"$KV.blackboard_default.{MARK}",
    f"commit.default.classify.{MARK}",
    f"dead.default.classify.{MARK}",
    f"scope.default.tasks.{MARK}",
    f"scope.default.results.classify.{MARK}",
    f"scope.default.events.classify.{MARK}",
    f"scope.default.api.{MARK}",
    f"scope.default.ask.{MARK}",
    f"infer.local.slow.{MARK}",
    f"infer-control.local.slow.{MARK}",
    f"infer-free.local.{MARK}",
    f"heartbeat.local.slow.{MARK}",
    f"orchestrator-control.default.{MARK}",
    f"_INBOX.orchestrator.{MARK}",
    f"_INBOX.admin.{MARK}",
    f"_INBOX.attempts.local.slow.o1.{MARK}",
    f"_INBOX.local.slow.{MARK}",
    f"$JS.API.STREAM.INFO.{MARK}",
    f"$SRV.PING.{MARK}",
    MARK,
)
CLASSIFY = json.dumps(BODIES["classify"]).encode()
CARD = {"replica": "thief", "provider": "p", "slots": 1, "models": [{"name": "m", "capabilities": ["classify"]}]}
STREAM_READS = (("", b'{"seq":1}'), ("", b'{"seq":1,"batch":10,"next_by_subj":">"}'))


def said_by_worker(zone: str) -> list[tuple[str, bytes]]:
    """Everything that a worker of the pool called after its zone may publish, and what it could once."""
    card = json.dumps({"zone": zone, "pool": zone, **CARD}).encode()
    return [
        (f"heartbeat.{zone}.{zone}.thief", card),
        (f"heartbeat.{zone}.{zone}.thief", b"nonsense"),
        (f"heartbeat.{zone}.{zone}.thief", b""),
        (f"infer-free.{zone}.{zone}", b'{"replica":"thief","attempt":"x.1"}'),
        (f"_INBOX.attempts.{zone}.{zone}.o1.x", b'{"type":"busy"}'),
        (f"$KV.presence.{zone}.{zone}.thief", card),
        ("$JS.API.STREAM.INFO.KV_presence", b""),
    ]


def asked_by_observer() -> list[tuple[str, bytes]]:
    """Everything that the observer may publish."""
    streams = ("EVENTS_default", "KV_presence", "KV_stats", "KV_policy")
    return [
        *((f"scope.default.api.{verb}", body) for verb in ("status", "replicas", "stats") for body in (b"", b"[")),
        ("scope.default.api.explain", b'{"capability":"classify"}'),
        ("$SRV.PING", b""),
        ("$SRV.INFO", b""),
        ("$SRV.STATS.orchestrator", b""),
        *((f"$JS.API.STREAM.INFO.{stream}", b"") for stream in streams),
        *((f"$JS.API.DIRECT.GET.{stream}", body) for stream in streams for _, body in STREAM_READS),
        *((f"$JS.API.DIRECT.GET.{stream}.>", b"") for stream in streams),
        ("$JS.API.DIRECT.GET.KV_presence.$KV.presence.local.local.local-w1", b""),
    ]


def asked_by_tenant() -> list[tuple[str, bytes]]:
    """Something for each way in, good and bad."""
    verbs = ("status", "replicas", "stats", "policy", "blackboard", "dead", "cancel", "result", "approvals", "nonsense")
    return [
        ("tasks.classify", CLASSIFY),
        ("tasks.nonsense", b"x"),
        ("ask.classify", CLASSIFY),
        ("ask.classify", b"x"),
        ("ask.nonsense", b"x"),
        *((f"api.{verb}", body) for verb in verbs for body in (b"", b"[")),
        ("api.explain", b'{"capability":"classify"}'),
    ]


def settings_of(fleet: RunningFleet, member: str) -> NatsSettings:
    match member:
        case "cloud":
            return fleet.server.worker("cloud", "cloud")
        case "local":
            return fleet.server.worker("local", "local")
        case "observer":
            return fleet.server.observer()
        case _:
            return fleet.server.tenant("default")


def said_by(member: str) -> list[tuple[str, bytes]]:
    match member:
        case "cloud" | "local":
            return said_by_worker(member)
        case "observer":
            return asked_by_observer()
        case _:
            return asked_by_tenant()


@pytest.mark.parametrize("member", ["cloud", "local", "observer", "tenant"])
async def test_no_answer_and_no_trace_arrives_on_a_subject_of_the_fleet(calm_fleet: RunningFleet, member: str):
    """
    What the member may say is taken, and answered where the server says.
    """
    stranger = await calm_fleet.connect(settings_of(calm_fleet, member))
    admin = await calm_fleet.admin()
    async with admin.hearing(">") as heard:
        # Discovery is what an observer may ask, and so where it may have a trace sent, too.
        for aim in (aim for aim in AIMS if member != "observer" or not aim.startswith("$SRV.")):
            for subject, body in said_by(member):
                await stranger.nc.publish(subject, body, reply=aim)
                for trace in ({"Nats-Trace-Dest": aim}, {"Nats-Trace-Dest": aim, "Nats-Trace-Only": "true"}):
                    await stranger.nc.publish(subject, body, reply=aim, headers=trace)
            await stranger.nc.flush()
        await _settled(calm_fleet, stranger, admin)
        arrived = {subject for subject in heard.subjects if MARK in subject}

    assert arrived == set()
    # The control: the same from one who is in the fleet's account arrives where it was aimed at.
    async with admin.hearing(f"$KV.stats.{MARK}") as heard:
        await admin.nc.publish("$JS.API.STREAM.INFO.KV_presence", b"", reply=f"$KV.stats.{MARK}")
        await heard.until(lambda heard: heard.messages)


@pytest.mark.parametrize("member", ["cloud", "observer", "tenant"])
async def test_the_server_refuses_reply_subjects_that_are_its_own(calm_fleet: RunningFleet, member: str):
    """
    An answer on `$JS.ACK` would acknowledge somebody's task; on `_R_` it would be an answer to somebody's question.
    """
    stranger = await calm_fleet.connect(settings_of(calm_fleet, member))
    subject, body = said_by(member)[0]
    for reply in ("$JS.ACK.TASKS_default.classify_normal.1.1.1.1.0", "_R_.aaaaaa.bbbbbb"):
        await stranger.nc.publish(subject, body, reply=reply)
        await stranger.nc.flush()
        await stranger.nc.flush()
        assert f'reply of "{reply.lower()}"' in str(stranger.nc.last_error).lower()


async def test_an_orchestrator_answers_nobody_on_a_subject_of_the_fleet(calm_fleet: RunningFleet):
    """
    Not even one who is in the fleet's account: it answers to the inboxes of the fleet's own, and to other accounts.
    """
    admin = await calm_fleet.admin()
    asked = [(f"scope.default.{subject}", body) for subject, body in asked_by_tenant() if "tasks" not in subject]
    asked += [(f"orchestrator-control.default.{verb}", b"ask-1") for verb in ("cancel", "where", "withdraw")]
    async with admin.hearing(">") as heard:
        for aim in AIMS:
            if aim.startswith(("_INBOX.orchestrator.", "_INBOX.admin.")):
                continue
            for subject, body in asked:
                await admin.nc.publish(subject, body, reply=aim)
        await _settled(calm_fleet, admin, admin)
        arrived = {subject for subject in heard.subjects if MARK in subject}
    answered = await admin.nc.request("scope.default.api.status", timeout=60)

    assert arrived == set()
    assert json.loads(answered.data)["pools"]


async def _settled(fleet: RunningFleet, stranger: PlainClient, admin: PlainClient) -> None:
    """Everything said so far has been answered: what is asked after it has been."""
    await stranger.nc.flush()
    caller = await fleet.client()
    for _ in range(2 * len(fleet.orchestrators)):
        await asyncio.gather(*(caller.api("status") for _ in range(4)), caller.ask("classify", CLASSIFY))
    await admin.nc.flush()
