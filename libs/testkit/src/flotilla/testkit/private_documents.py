"""What `private_moves` is made with: documents that must stay at home, who owns them, and where none may be seen."""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from flotilla.cli.prove.canaries import Canaries
from flotilla.cli.prove.places import HEARD, Place
from flotilla.contracts.subjects import blackboard_bucket, cache_bucket
from flotilla.testkit.plain_client import PlainClient, settled

KEPT_MAX: Final = 200
"""Ids and handles that later moves go back to."""
CAPABILITIES: Final = ("summarize", "translate", "reason", "chat")
PIPELINES: Final = {
    "hidden": """
name = "hidden"
[input]
type = "object"
[steps.hide]
capability = "redact"
input = { document = "${input.document}" }
[steps.sum]
capability = "summarize"
input = { document = "${steps.hide.document}" }
[steps.show]
capability = "restore"
input = { document = "${steps.sum.summary}", vault = "${steps.hide.vault}" }
[output]
text = "${steps.show.document}"
""",
    "passed-on": """
name = "passed-on"
[input]
type = "object"
[steps.sum]
capability = "summarize"
input = { document = "${input.document}" }
[steps.say]
capability = "translate"
input = { text = "${steps.sum.summary}", target = "de" }
[output]
text = "${steps.say.text}"
""",
}
_CACHED: Final = "cache = { ttl_s = 600, restricted = true }\n"
_BOTH: Final = 'routes = [{ pool = "cloud" }, { pool = "local" }]\n'
_RESTRICTED: Final = '[scopes.default]\ndata_class = "restricted"\n'
POLICIES: Final = (
    f'[default]\nstrategy = "failover"\n{_BOTH}{_CACHED}',
    f'[default]\nstrategy = "consensus"\nstrategy_options = {{ ask = 2, agree = 2 }}\n{_BOTH}',
    f'[default]\n{_BOTH}hedge = {{ after_ms = 1, share_max = 1.0 }}\nshadow = {{ pool = "cloud", share = 1.0 }}\n',
    f'[default]\nstrategy = "split"\n{_BOTH}{_CACHED}[redaction]\noff = ["URL"]\n',
    f'{_RESTRICTED}[default]\n{_BOTH}[capabilities.reason]\nroutes = [{{ pool = "cloud" }}]\n',
)
"""All prefer the cloud, or ask it as well."""
_GATE: Final = """
[capabilities.summarize]
approval = { zones = ["cloud"], data_classes = ["restricted", "internal"], expires_s = 2 }
"""
SEVERAL_ROUTES: Final = (
    f'[default]\nstrategy = "cascade"\nstrategy_options = {{ confidence_min = 1.0 }}\n{_BOTH}{_CACHED}',
    f'[default]\nstrategy = "consensus"\nstrategy_options = {{ ask = 2, agree = 2 }}\n{_BOTH}{_CACHED}',
    f'[default]\nstrategy = "split"\n{_BOTH}{_CACHED}shadow = {{ pool = "cloud", share = 1.0 }}\n',
    f'[default]\nstrategy = "failover"\n{_BOTH}shadow = {{ pool = "cloud", share = 1.0 }}\n{_GATE}',
)
"""More of these, with shadows, kept answers and a gate before the cloud."""
GATED: Final = {
    "hidden-gated": PIPELINES["hidden"]
    .replace('"hidden"', '"hidden-gated"')
    .replace('capability = "summarize"\n', 'capability = "summarize"\napproval = { expires_s = 30 }\n'),
    "passed-on-gated": PIPELINES["passed-on"]
    .replace('"passed-on"', '"passed-on-gated"')
    .replace('capability = "summarize"\n', 'capability = "summarize"\napproval = { expires_s = 2 }\n'),
}
"""The same with a gate before what is redacted leaves, and before what is not, where nobody waits for long."""
SPELLED: Final = tuple(
    b"NATS/1.0\r\n" + lines + b"\r\n"
    for lines in (
        b"Flotilla-Data-Class: restricted\r\n",
        b"FLOTILLA-DATA-CLASS:restricted\r\n",
        b"flotilla-data-class:   restricted  \r\n",
        b"Flotilla-Data-Class: Restricted\r\n",
        b"Flotilla-Data-Class : restricted\r\n",
        b"Flotilla-Data-Class:\trestricted\r\n",
        b"Flotilla_Data_Class: restricted\r\n",
        b"Flotilla-Dataclass: restricted\r\n",
        b"Flotilla-Data-Class: restricted\r\nFlotilla-Data-Class: public\r\n",
        b"Flotilla-Data-Class: public\r\nflotilla-data-class: restricted\r\n",
        b"Flotilla-Label-a: b\r\n Flotilla-Data-Class: restricted\r\n",
        b"Flotilla-Route: cloud\r\nFlotilla-Data-Class: restricted\r\nFlotilla-Stream: true\r\n",
    )
)
"""Ways to say `restricted` on the wire, some of which nobody may understand; none may be taken for less."""


class Tenant:
    """
    A caller with made-up persons of its own, and what it has handed in.

    Attributes:
        buckets: Where its documents may lie: what it wrote itself, and answers that the policy keeps.
    """

    def __init__(self, name: str, client: PlainClient) -> None:
        self.name: Final = name
        self.client: Final = client
        self.buckets: Final = tuple(f"$KV.{bucket(name)}." for bucket in (blackboard_bucket, cache_bucket))
        self.canaries: Final = Canaries()
        self.tasks: Final[deque[str]] = deque(maxlen=KEPT_MAX)
        self.runs: Final[deque[str]] = deque(maxlen=KEPT_MAX)
        self.dying: Final[deque[str]] = deque(maxlen=KEPT_MAX)
        self.vaults: Final[deque[str]] = deque(maxlen=KEPT_MAX)
        self.board: Final[deque[str]] = deque(maxlen=KEPT_MAX)


class Sightings:
    """
    What has been seen by those who must see nothing.

    Attributes:
        leaks: How often a canary was, by the place.
        heard: How many messages were looked at, by the place.
    """

    def __init__(self) -> None:
        self.leaks: Final[Counter[str]] = Counter()
        self.heard: Final[Counter[str]] = Counter()
        self._subscriptions: Final[list[tuple[PlainClient, Subscription]]] = []

    def see(self, place: str, data: bytes, *canaries: Canaries) -> None:
        """Look for canaries in what must hold none."""
        self.heard[place] += 1
        self.leaks[place] += int(any(each.are_in(data) for each in canaries))

    async def listen(self, admin: PlainClient, tenants: Sequence[Tenant]) -> None:
        """Hear the fleet's account from now on."""
        for place in HEARD:
            if place.at_home:
                continue

            async def on_message(message: Msg, place: Place = place) -> None:
                beside = f"{message.subject} {message.headers or ''}".encode()
                may_have = next((each for each in tenants if message.subject.startswith(each.buckets)), None)
                others = [each.canaries for each in tenants if each is not may_have]
                self.see(place.name, beside + b" " + place.watched(message.data), *others)

            for subject in place.subjects:
                await self._subscribe(admin, subject, on_message)
        await settled(admin.nc)

    async def listen_as(self, tenant: Tenant, tenants: Sequence[Tenant]) -> None:
        """Hear all that a tenant may subscribe to, where nothing of another one may be."""
        others = [each.canaries for each in tenants if each is not tenant]

        async def on_message(message: Msg) -> None:
            self.see(f"heard by {tenant.name}", f"{message.subject} {message.headers}".encode() + message.data, *others)

        for subject in ("results.>", "events.>", "sealed.results.>"):
            await self._subscribe(tenant.client, subject, on_message)
        await settled(tenant.client.nc)

    async def _subscribe(self, client: PlainClient, subject: str, on_message: Callable[[Msg], Awaitable[None]]) -> None:
        subscription = await client.nc.subscribe(subject, cb=on_message)  # pyright: ignore[reportUnknownMemberType]  # partly untyped
        self._subscriptions.append((client, subscription))

    async def caught_up(self) -> None:
        """Return when everything that the server had for these connections was looked at."""
        for client, subscription in self._subscriptions:
            await settled(client.nc)
            while subscription.pending_msgs:  # noqa: ASYNC110
                await asyncio.sleep(0)
