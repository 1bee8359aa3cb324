"""
Nobody outside the fleet's own account has anything answered on a subject of the fleet.

NATS checks no reply subject: whoever may ask anything can name any subject as the place for the answer, and whoever
answers publishes there with rights of his own. So each member asks and says everything that it may, with every subject
of the fleet as the reply subject and as the place for a trace, and nothing may arrive there.
"""

import asyncio
import json

import pytest

from flotilla.contracts import subjects
from flotilla.fabric.connection import NatsSettings
from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import BODIES, PlainClient, settled

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
    f"$KV.approvals_default.{MARK}",
    f"$KV.cache_default.{MARK}",
    f"$KV.experiments.{MARK}",
    f"step.default.{MARK}",
    f"suspended.default.wait.{MARK}",
    f"audit.default.{MARK}.granted",
    f"score.default.classify.{MARK}.caller",
    f"ledger.default.2026-11-29.local.{MARK}",
    f"counter.budget.{MARK}.2026-11",
    f"counted.owner.{MARK}",
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
    verbs = (*subjects.API_VERBS, "nonsense")
    return [
        ("tasks.classify", CLASSIFY),
        ("tasks.nonsense", b"x"),
        ("ask.classify", CLASSIFY),
        ("ask.classify", b"x"),
        ("ask.nonsense", b"x"),
        *((f"api.{verb}", body) for verb in verbs for body in (b"", b"[")),
        ("api.explain", b'{"capability":"classify"}'),
    ]


def asked_by_approver() -> list[tuple[str, bytes]]:
    """Everything that the approver may publish, and what only the tenant may."""
    known = b'{"id":"%s","decision":"grant"}' % (b"0" * 32)
    return [
        *(("api.approvals", body) for body in (b"", b"[", b'{"verb":"list","status":"all"}', b'{"verb":"audit"}')),
        *(("api.decide", body) for body in (b"", b"[", known)),
        ("tasks.classify", CLASSIFY),
        ("ask.classify", CLASSIFY),
        ("api.status", b""),
    ]


def settings_of(fleet: RunningFleet, member: str) -> NatsSettings:
    match member:
        case "cloud":
            return fleet.server.worker("cloud", "cloud")
        case "local":
            return fleet.server.worker("local", "local")
        case "observer":
            return fleet.server.observer()
        case "approver":
            return fleet.server.approver("default")
        case _:
            return fleet.server.tenant("default")


def said_by(member: str) -> list[tuple[str, bytes]]:
    match member:
        case "cloud" | "local":
            return said_by_worker(member)
        case "observer":
            return asked_by_observer()
        case "approver":
            return asked_by_approver()
        case _:
            return asked_by_tenant()


@pytest.mark.parametrize("member", ["cloud", "local", "observer", "approver", "tenant"])
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
            await settled(stranger.nc)
        await _settled(calm_fleet, stranger, admin)
        arrived = {subject for subject in heard.subjects if MARK in subject}

    assert arrived == set()
    # The control: the same from one who is in the fleet's account arrives where it was aimed at.
    async with admin.hearing(f"$KV.stats.{MARK}") as heard:
        await admin.nc.publish("$JS.API.STREAM.INFO.KV_presence", b"", reply=f"$KV.stats.{MARK}")
        await heard.until(lambda heard: heard.messages)


@pytest.mark.parametrize("member", ["cloud", "observer", "approver", "tenant"])
async def test_the_server_refuses_reply_subjects_that_are_its_own(calm_fleet: RunningFleet, member: str):
    """
    An answer on `$JS.ACK` would acknowledge somebody's task; on `_R_` it would be an answer to somebody's question.
    """
    stranger = await calm_fleet.connect(settings_of(calm_fleet, member))
    subject, body = said_by(member)[0]
    for reply in ("$JS.ACK.TASKS_default.classify_normal.1.1.1.1.0", "_R_.aaaaaa.bbbbbb"):
        await stranger.nc.publish(subject, body, reply=reply)
        await settled(stranger.nc)
        assert f'reply of "{reply.lower()}"' in str(stranger.nc.last_error).lower()


async def test_nothing_that_an_approver_is_answered_is_stored_as_a_task(calm_fleet: RunningFleet):
    """
    The server takes what arrives on a reply subject through the imports of the asker's account, whoever asked: an approver
    may submit nothing, and could have answers submitted.
    """
    approver = await calm_fleet.connect(calm_fleet.server.approver("acme"))
    tenant, admin = await calm_fleet.client("acme"), await calm_fleet.admin()
    before = await admin.stream("STREAM.INFO", "TASKS_acme")
    for subject, body in asked_by_approver():
        if subject.removeprefix("api.") in subjects.APPROVER_VERBS:
            for aim in ("tasks.classify", "tasks.classify.high", "ask.classify", "api.decide"):
                await approver.nc.publish(subject, body, reply=aim)
    await _settled(calm_fleet, approver, admin)
    answered = json.loads((await approver.nc.request("api.approvals", timeout=60)).data)
    after = await admin.stream("STREAM.INFO", "TASKS_acme")
    # The control: that it is what the tenant is answered, in whose name it is stored.
    await tenant.nc.publish("api.status", b"", reply="tasks.classify")
    await _settled(calm_fleet, tenant, admin)
    control = await admin.stream("STREAM.INFO", "TASKS_acme")

    assert answered["approvals"] == []
    assert after["state"]["last_seq"] == before["state"]["last_seq"]
    assert control["state"]["last_seq"] == after["state"]["last_seq"] + 1


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
    await settled(stranger.nc)
    caller = await fleet.client()
    for _ in range(2 * len(fleet.orchestrators)):
        await asyncio.gather(*(caller.api("status") for _ in range(4)), caller.ask("classify", CLASSIFY))
    await settled(admin.nc)
