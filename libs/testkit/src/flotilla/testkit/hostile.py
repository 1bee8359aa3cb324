"""
What a stolen credential would send: messages of the fleet's own forms, broken in every way that bytes can be.

    async with raw_client(server.tenant("evil")) as raw:
        await Hostile(TENANT, random.Random(7)).send(raw, 1_000)
"""

import random
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from flotilla.testkit.raw_client import RawClient

BATCH: Final = 100
SAID_MAX: Final = 10_000

_NASTY: Final = (
    b"\r\n",
    b"\r\nPUB $KV.policy.routing 4\r\nevil\r\n",
    b"\x00",
    b"\xff\xfe",
    b"\x1b[2J",
    b"\xc2\x85",
    "\u202e".encode(),
    b"\\ud83d",
    b"..",
    b"*",
    b">",
    b"1e999",
    b"-1",
    b"9" * 400,
    b"NaN",
    b"null",
    b"[" * 2_000,
    b'{"a":' * 500,
    b'"' + b"x" * 20_000 + b'"',
    b": ",
    b"NATS/1.0 503\r\n",
)
_HEADER_BLOCKS: Final = (
    b"NATS/1.0\r\nFlotilla-Data-Class: restricted\r\nFlotilla-Data-Class: public\r\n\r\n",
    b"NATS/1.0\r\nFlotilla-Data Class: restricted\r\n\r\n",
    b"NATS/1.0\r\nFlotilla-Deadline-Ms: 2000\r\nFlotilla-Label-a: b\r\n\r\n",
    b"NATS/1.0\r\nNats-Msg-Id: fuzz\r\nNats-Rollup: all\r\n\r\n",
    b"NATS/1.0\r\nFlotilla-Cache: use\r\nFlotilla-Sticky: s\r\nFlotilla-Resume: seq-1\r\n\r\n",
    b"NATS/1.0\r\nFlotilla-Cache: refresh\r\nFlotilla-Cache: off\r\n\r\n",
    b"NATS/1.0\r\nFlotilla-Approval: e30.c2ln\r\nFlotilla-Accepted: true\r\nFlotilla-Stream: true\r\n\r\n",
    b'NATS/1.0\r\nNats-Request-Info: {"acc":"default","user":"U"}\r\nNats-Incr: 9\r\n\r\n',
    b"NATS/1.0\r\nNats-Schedule: @at 2020-01-01T00:00:00Z\r\nNats-Schedule-Target: tasks.classify\r\n\r\n",
    b"NATS/1.0\r\n Nats-Trace-Dest: $KV.policy.routing\r\n\r\n",
    b"NATS/1.0 503\r\n\r\n",
    b"NATS/1.0",
)
_REPLIES: Final = (
    b"",
    b"_INBOX.a",
    b"_INBOX.%d",
    b"$KV.policy.routing",
    b"$KV.presence.local.local.w",
    b"commit.default.classify.seq-1",
    b"scope.default.tasks.classify",
    b"infer.local.local.classify",
    b"$KV.approvals_default.a",
    b"audit.default.a.granted",
    b"suspended.default.wait.a",
    b"ledger.default.2026-11-29.local.m",
    b"counter.held.a",
    b"tasks.classify",
    b"api.decide",
    b"_INBOX.\xff",
)


class Form(Struct, frozen=True):
    """One kind of message: where it goes, and a body that would be taken."""

    subject: bytes
    body: bytes


TENANT: Final = (
    Form(b"tasks.classify", b'{"document":"x","labels":["a","b"]}'),
    Form(b"tasks.classify.high", b'{"document":7}'),
    Form(b"tasks.nothing", b"{}"),
    Form(b"ask.classify", b'{"document":"x","labels":["a","b"]}'),
    Form(b"ask.embed", b'{"texts":["x"]}'),
    Form(b"ask.\xff", b"{}"),
    Form(b"ask." + b"a" * 2_000, b"{}"),
    Form(b"api.\xff", b"{}"),
    Form(b"api.status", b'{"task":"seq-1"}'),
    Form(b"api.result", b'{"task":"seq-1"}'),
    Form(b"api.cancel", b'{"task":"seq-1"}'),
    Form(b"api.explain", b'{"capability":"classify"}'),
    Form(b"api.dead", b'{"verb":"retry","task":"seq-1"}'),
    Form(b"api.blackboard", b'{"verb":"set","key":"k","value":1}'),
    Form(b"api.policy", b'{"verb":"get"}'),
    Form(b"api.policy", b'{"verb":"history"}'),
    Form(b"api.blackboard", b'{"verb":"watch","pattern":">","wait_ms":10}'),
    Form(b"api.feedback", b'{"task":"seq-1","score":0.5,"label":"l","scorer":"judge"}'),
    Form(b"api.experiment", b'{"capability":"classify"}'),
    Form(b"api.spend", b'{"by":["day","pool","label.team"]}'),
    Form(b"api.approvals", b'{"verb":"list"}'),
    Form(b"api.decide", b'{"id":"00000000000000000000000000000000","decision":"grant"}'),
    Form(b"tasks.gated", b'{"document":"x"}'),
    Form(b"tasks.open", b'{"document":7}'),
    Form(b"tasks.redact", b'{"document":{"a":["Ann",1]},"case":"c"}'),
    Form(b"ask.restore", b'{"document":"x","vault":"aaaaaaaaaaaaaaaaaaaaaaaaaa"}'),
    Form(b"sealed.tasks.classify", b'{"document":"x","labels":["a","b"]}'),
    Form(b"sealed.ask.classify", b'{"document":"x","labels":["a","b"]}'),
    Form(b"sealed.api.status", b"{}"),
)
APPROVER: Final = (
    Form(b"api.approvals", b'{"verb":"list","status":"all","limit":7}'),
    Form(b"api.approvals", b'{"verb":"show","id":"00000000000000000000000000000000"}'),
    Form(b"api.approvals", b'{"verb":"audit","limit":7}'),
    Form(b"api.decide", b'{"id":"00000000000000000000000000000000","decision":"grant","comment":"c","by":"ann"}'),
    Form(b"api.decide", b'{"id":"00000000000000000000000000000000","decision":"deny","grant":"e30.c2ln"}'),
    Form(b"sealed.api.approvals", b"{}"),
    Form(b"tasks.classify", b'{"document":"x","labels":["a","b"]}'),
    Form(b"api.policy", b'{"verb":"unset"}'),
)
CLOUD_WORKER: Final = (
    Form(
        b"heartbeat.cloud.cloud.evil",
        b'{"zone":"cloud","pool":"cloud","replica":"evil","provider":"p","slots":4,'
        b'"models":[{"name":"m","capabilities":["classify"]}]}',
    ),
    Form(b"infer-free.cloud.cloud", b'{"replica":"evil","attempt":"o1.1"}'),
    Form(b"_INBOX.attempts.cloud.cloud.o1.0123456789abcdef", b'{"type":"accepted","replica":"evil"}'),
    Form(b"_INBOX.attempts.local.local.o1.0123456789abcdef", b'{"type":"finished","output":{},"replica":"evil"}'),
    Form(b"$KV.policy.routing", b'{"format":1}'),
    Form(b"$JS.API.STREAM.INFO.KV_presence", b""),
)
LOCAL_WORKER: Final = (
    Form(
        b"heartbeat.local.vaulted.evil",
        b'{"zone":"local","pool":"vaulted","replica":"evil","provider":"p","slots":4,'
        b'"models":[{"name":"m","capabilities":["redact"]}]}',
    ),
    Form(b"infer-free.local.vaulted", b'{"replica":"evil","attempt":"o1.1"}'),
    Form(b"_INBOX.attempts.local.vaulted.o1.0123456789abcdef", b'{"type":"finished","output":{},"replica":"evil"}'),
    Form(b"_INBOX.sealed-attempts.local.vaulted.o1.0123456789abcdef", b'{"type":"accepted","replica":"evil"}'),
    Form(b"$KV.vault.acme.aaaaaaaaaaaaaaaaaaaaaaaaaa", b"FV1"),
    Form(b"$JS.API.STREAM.MSG.GET.KV_vault", b'{"last_by_subj":"$KV.vault.>"}'),
    Form(b"$JS.API.STREAM.CREATE.KV_vault", b'{"name":"KV_vault","subjects":["$KV.vault.>"]}'),
)
OBSERVER: Final = (
    Form(b"scope.default.api.status", b'{"task":"seq-1"}'),
    Form(b"scope.default.api.replicas", b"{}"),
    Form(b"scope.default.api.explain", b'{"capability":"classify"}'),
    Form(b"$SRV.PING", b""),
    Form(b"$JS.API.STREAM.INFO.KV_policy", b""),
    Form(b"$JS.API.DIRECT.GET.KV_policy", b'{"last_by_subj":"$KV.policy.routing"}'),
    Form(b"$KV.policy.routing", b'{"format":1}'),
)


class Hostile:
    """Sends messages of some forms, most of them broken in one to three places."""

    def __init__(self, forms: Sequence[Form], luck: random.Random) -> None:
        self._forms = forms
        self._luck = luck

    async def send(self, raw: RawClient, count: int) -> None:
        """
        Send so many.

        Raises:
            ConnectionError: The server has had enough of it.
        """
        for sent in range(count):
            form = self._luck.choice(self._forms)
            raw.publish(
                self._subject(form.subject),
                self._broken(form.body),
                # The server keeps a way back for each.
                reply=self._luck.choice(_REPLIES).replace(b"%d", b"%d" % sent),
                headers=self._broken(self._luck.choice(_HEADER_BLOCKS)) if self._luck.random() < 0.5 else None,  # noqa: PLR2004
            )
            if sent % BATCH == BATCH - 1:
                await raw.flush()
                del raw.said[:-SAID_MAX]
        await raw.flush()

    def _subject(self, subject: bytes) -> bytes:
        """One token in ten times is broken, without what would end the line: the server reads that, not the fleet."""
        if self._luck.random() >= 0.1:  # noqa: PLR2004
            return subject
        broken = self._broken(subject)[:512]
        return bytes(byte for byte in broken if byte not in b" \t\r\n") or subject

    def _broken(self, text: bytes) -> bytes:
        for _ in range(self._luck.randrange(4)):
            at = self._luck.randrange(len(text) + 1)
            match self._luck.randrange(4):
                case 0:
                    text = text[:at] + self._luck.choice(_NASTY) + text[at:]
                case 1:
                    text = text[:at] + self._luck.randbytes(self._luck.randrange(1, 9)) + text[at:]
                case 2:
                    text = text[:at]
                case _:
                    end = self._luck.randrange(at, len(text) + 1)
                    text = text[:at] + self._luck.choice(_NASTY) + text[end:]
        return text
