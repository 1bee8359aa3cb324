"""
What callers, other tenants, operators and misfortune do to documents that must stay at home, drawn at random.

    moves = Moves(fleet, tenants, luck, sightings)
    await moves.make(500)
    assert not sightings.leaks, moves.story()

Every move alone is harmless; what is looked for is the order of some that is not. Nothing here waits for a move to go well,
since processes die meanwhile: what each came to is counted in `ends`.
"""

import asyncio
import itertools
import json
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

import httpx
import nats.errors

from flotilla.cli.prove.canaries import Canaries
from flotilla.cli.prove.documents import input_of, letter, plain_letter
from flotilla.cli.prove.places import beside_output
from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.plain_client import Headers, Json, new_task
from flotilla.testkit.private_documents import CAPABILITIES, PIPELINES, POLICIES, SPELLED, Sightings, Tenant
from flotilla.testkit.raw_client import raw_client

PATIENCE_S: Final = 6.0
"""For one answer: whoever held it may be dead."""
AT_ONCE: Final = 6
OPTION_SHARE: Final = 0.3


class Moves:
    """
    Draws moves and makes them, some at a time.

    Attributes:
        ends: How each kind of move ended, and how often.
    """

    def __init__(
        self,
        fleet: RunningFleet,
        tenants: Sequence[Tenant],
        luck: random.Random,
        sightings: Sightings,
        *,
        more: Mapping[str, Callable[[Tenant], Awaitable[object]]] | None = None,
    ) -> None:
        self._fleet = fleet
        self._tenants = tenants
        self._luck = luck
        self._sightings = sightings
        self._numbers = itertools.count()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._policies = asyncio.Lock()
        self.ends: Final[defaultdict[str, Counter[str]]] = defaultdict(Counter)
        own = (self.ask, self.submit, self.spell, self.reuse_id, self.run, self.resume, self.die, self.retry)
        own = (
            *own,
            self.hide_and_send,
            self.govern,
            self.post,
            self.pry,
            self.pry,
            self.seal,
            self.send_public,
            self.score,
        )
        self._kinds: Final = {**{each.__name__: each for each in own}, **(more or {})}
        self._drawn: Final = [each.__name__ for each in own] + list(more or ())

    def story(self) -> str:
        """What was done, and what it came to."""
        return str({name: dict(ends) for name, ends in sorted(self.ends.items())})

    async def make(self, count: int) -> None:
        """Make so many moves; returns when all have ended."""
        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                await self._free.acquire()
                group.create_task(self._make(self._luck.choice(self._drawn), self._luck.choice(self._tenants)))

    async def _make(self, name: str, tenant: Tenant) -> None:
        try:
            end = await self._kinds[name](tenant)
        except (nats.errors.Error, ConnectionError, EOFError, TimeoutError, httpx.HTTPError) as error:
            end = type(error).__name__
        finally:
            self._free.release()
        self.ends[name][str(end or "ok")] += 1

    # --- what the owner of the documents does ---

    async def ask(self, tenant: Tenant) -> str:
        """A restricted task, with whatever else may be said of one."""
        capability, body = self._document(tenant)
        return await self._asked(tenant, capability, body, self._restricted())

    async def submit(self, tenant: Tenant) -> None:
        """The same, durable."""
        capability, body = self._document(tenant)
        await self._submitted(tenant, capability, body, self._restricted())

    async def spell(self, tenant: Tenant) -> str:
        """The same, said in another way: understood, or refused."""
        capability, body = self._document(tenant)
        block = self._luck.choice(SPELLED)
        way = self._luck.choice(["ask", "tasks"])
        async with asyncio.timeout(PATIENCE_S), raw_client(self._fleet.server.tenant(tenant.name)) as raw:
            answer = await raw.request(f"{way}.{capability}".encode(), json.dumps(body).encode(), headers=block)
        return self._look(tenant, answer, restricted=way == "ask")

    async def reuse_id(self, tenant: Tenant) -> str | None:
        """Another document of another class under an id that a task has had."""
        if not tenant.tasks:
            await self.submit(tenant)
        task = self._luck.choice(tenant.tasks)
        headers = {"Flotilla-Data-Class": self._luck.choice(["public", "internal"]), "Nats-Msg-Id": task}
        capability, body = self._plain(tenant)
        if self._luck.choice([True, False]):
            return self._look(
                tenant, await tenant.client.submit(capability, body, headers=headers, timeout_s=PATIENCE_S)
            )
        return await self._asked(tenant, capability, body, headers, restricted=False)

    async def run(self, tenant: Tenant) -> str | None:
        """A pipeline over a restricted document: its steps go to the cloud or stay, each as what it is made from."""
        name = self._luck.choice(list(PIPELINES))
        body = {"document": self._letter(tenant)}
        if self._luck.choice([True, False]):
            return await self._asked(tenant, name, body, self._restricted(), pipeline=True)
        tenant.runs.append(await self._submitted(tenant, name, body, self._restricted()))
        return None

    async def resume(self, tenant: Tenant) -> str:
        """A public run that goes on with a restricted one, its own or another tenant's."""
        owner = self._luck.choice(self._tenants)
        if not owner.runs:
            return "nothing yet"
        headers = {"Flotilla-Data-Class": "public", "Flotilla-Resume": self._luck.choice(owner.runs)}
        body = {"document": plain_letter(tenant.canaries.decoy)}
        name = self._luck.choice(list(PIPELINES))
        return await self._asked(tenant, name, body, headers, restricted=False)

    async def die(self, tenant: Tenant) -> None:
        """A restricted task that nobody can do in time, or that no pool may serve."""
        capability, body = self._document(tenant)
        how = self._luck.choice(
            [{"Flotilla-Deadline-Ms": "1"}, {"Flotilla-Route": "cloud"}, {"Flotilla-Route": "nobody"}]
        )
        task = await self._submitted(tenant, capability, body, {**self._restricted(), **how})
        tenant.dying.append(task)

    async def retry(self, tenant: Tenant) -> str:
        """A dead one again: it is what it was."""
        if not tenant.dying:
            await self.die(tenant)
        answer = await tenant.client.api(
            "dead", {"verb": "retry", "task": self._luck.choice(tenant.dying)}, timeout_s=PATIENCE_S
        )
        if "retried_as" in answer:
            tenant.tasks.append(answer["retried_as"])
        return self._look(tenant, answer)

    async def hide_and_send(self, tenant: Tenant) -> str:
        """A document redacted, sent out as public, and restored."""
        headers = {"Flotilla-Data-Class": "public"}
        answer = await tenant.client.ask(
            "redact", {"document": self._letter(tenant)}, headers=headers, timeout_s=PATIENCE_S
        )
        self._sightings.see("redacted", json.dumps(answer.result).encode(), *self._canaries())
        if answer.kind:
            return answer.kind
        redacted = answer.result["output"]
        tenant.vaults.append(redacted["vault"])
        capability = self._luck.choice(CAPABILITIES)
        outside = await tenant.client.ask(
            capability,
            input_of(capability, redacted["document"]),
            headers={**headers, **self._options()},
            timeout_s=PATIENCE_S,
        )
        self._sightings.see("answers from outside", json.dumps(outside.result).encode(), *self._canaries())
        given = {"document": json.dumps(outside.result.get("output", "")), "vault": redacted["vault"]}
        return await self._asked(tenant, "restore", given, headers)

    async def seal(self, tenant: Tenant) -> str | None:
        """A document in the sealed lane, called public."""
        capability, body = self._document(tenant)
        data = json.dumps(body).encode()
        headers = {"Flotilla-Data-Class": "public", **self._options()}
        if self._luck.choice([True, False]):
            headers.pop("Flotilla-Stream", None)
            message = await tenant.client.nc.request(
                f"sealed.ask.{capability}", data, timeout=PATIENCE_S, headers=headers
            )
            return self._look(tenant, json.loads(message.data), restricted=True)
        headers["Nats-Msg-Id"] = task = new_task("sealed")
        await tenant.client.nc.request(f"sealed.tasks.{capability}", data, timeout=PATIENCE_S, headers=headers)
        tenant.tasks.append(task)
        return None

    async def post(self, tenant: Tenant) -> str:
        """A document on the blackboard of its scope."""
        key = f"cases.{next(self._numbers)}"
        tenant.board.append(key)
        question = {"verb": "set", "key": key, "value": {"letter": self._letter(tenant)}}
        answer = await tenant.client.api("blackboard", question, timeout_s=PATIENCE_S)
        return answer.get("error", {}).get("kind", "ok")

    async def send_public(self, tenant: Tenant) -> str:
        """What may leave: it is seen where it arrives, and is answered with nothing of a document that may not."""
        capability, body = self._plain(tenant)
        headers = {"Flotilla-Data-Class": self._luck.choice(["public", "internal"]), **self._options()}
        return await self._asked(tenant, capability, body, headers, restricted=False)

    # --- what operators and others do ---

    async def govern(self, tenant: Tenant) -> str:
        """The policy changes while tasks are under way."""
        verb = self._luck.choice(["set", "set", "set", "unset", "rollback"])
        question: Json = {"verb": verb, "force": True}
        if verb == "set":
            question["toml"] = self._luck.choice(POLICIES)
        del tenant
        # Of the tenant that may: the other is refused.
        async with self._policies:
            answer = await self._tenants[0].client.api("policy", question, timeout_s=PATIENCE_S)
        return verb + " " + answer.get("error", {}).get("kind", "ok")

    async def score(self, tenant: Tenant) -> str:
        """A score for a task of a split, and the report."""
        if not tenant.tasks:
            await self.submit(tenant)
        question = {"task": self._luck.choice(tenant.tasks), "score": 0.5, "scorer": f"s{next(self._numbers)}"}
        answer = await tenant.client.api("feedback", question, timeout_s=PATIENCE_S)
        report = await tenant.client.api("experiment", {"capability": "reason"}, timeout_s=PATIENCE_S)
        self._sightings.see("reports", json.dumps(report).encode(), *self._canaries())
        return self._look(tenant, answer)

    async def pry(self, tenant: Tenant) -> str:
        """Ask for what another tenant has: its results, dead letters, vaults, its blackboard."""
        owner = self._luck.choice([each for each in self._tenants if each is not tenant])
        found: list[tuple[str, Json]] = []
        for task in {*self._some(owner.tasks), *self._some(owner.dying)}:
            found += [("result", {"task": task}), ("status", {"task": task}), ("cancel", {"task": task})]
            found += [("dead", {"verb": verb, "task": task}) for verb in ("show", "retry", "discard")]
        found += [("blackboard", {"verb": "get", "key": key}) for key in self._some(owner.board)]
        found += [("blackboard", {"verb": "history", "key": key}) for key in self._some(owner.board)]
        for sealed in ("", "sealed."):
            for verb, question in found:
                data = json.dumps(question).encode()
                answer = await tenant.client.nc.request(f"{sealed}api.{verb}", data, timeout=PATIENCE_S)
                self._sightings.see(f"{verb} of another tenant", answer.data, owner.canaries)
                self._sightings.leaks["retried by another tenant"] += int(b'"retried_as"' in answer.data)
        for vault in self._some(owner.vaults):
            forms = " ".join(f"[PERSON_{number}_BCDFG]" for number in range(1, 4))
            answer = await tenant.client.ask("restore", {"document": forms, "vault": vault}, timeout_s=PATIENCE_S)
            self._sightings.see("vault of another tenant", json.dumps(answer.result).encode(), owner.canaries)
            self._sightings.leaks["vault of another tenant"] += int(not answer.kind)
        return f"{len(found)} questions"

    # --- parts of them ---

    def _letter(self, tenant: Tenant) -> str:
        return letter(tenant.canaries.person(next(self._numbers)))

    def _document(self, tenant: Tenant) -> tuple[str, Json]:
        capability = self._luck.choice(CAPABILITIES)
        return capability, input_of(capability, self._letter(tenant))

    def _plain(self, tenant: Tenant) -> tuple[str, Json]:
        capability = self._luck.choice(CAPABILITIES)
        return capability, input_of(capability, plain_letter(tenant.canaries.decoy))

    def _options(self) -> Headers:
        may: Sequence[Headers] = (
            {"Flotilla-Cache": self._luck.choice(["use", "refresh", "off"])},
            {"Flotilla-Route": self._luck.choice(["cloud", "cloud/m", "local"])},
            {"Flotilla-Stream": "true"},
            {"Flotilla-Sticky": self._luck.choice("ab")},
            {"Flotilla-Label-team": "a"},
        )
        return {name: value for each in may if self._luck.random() < OPTION_SHARE for name, value in each.items()}

    def _restricted(self) -> Headers:
        name = self._luck.choice(["Flotilla-Data-Class", "flotilla-data-class", "FLOTILLA-DATA-CLASS"])
        return {name: "restricted", **self._options()}

    def _some(self, ids: Sequence[str]) -> list[str]:
        return self._luck.sample(list(ids), min(len(ids), 1))

    def _canaries(self) -> list[Canaries]:
        return [each.canaries for each in self._tenants]

    async def _asked(
        self,
        tenant: Tenant,
        capability: str,
        body: Json,
        headers: Headers,
        *,
        restricted: bool = True,
        pipeline: bool = False,
    ) -> str:
        answer = await tenant.client.ask(capability, body, headers=headers, timeout_s=PATIENCE_S)
        for piece in answer.pieces if not restricted else ():
            self._sightings.see("pieces", json.dumps(piece).encode(), *self._canaries())
        return self._look(tenant, answer.result, restricted=restricted and not pipeline, public=not restricted)

    async def _submitted(self, tenant: Tenant, capability: str, body: Json, headers: Headers) -> str:
        task = new_task("private")
        tenant.tasks.append(task)
        await tenant.client.submit(capability, body, headers=headers, task=task, timeout_s=PATIENCE_S)
        return task

    def _look(self, tenant: Tenant, answer: Json, *, restricted: bool = False, public: bool = False) -> str:
        """Look at an answer: with another's document, with its own where it may not be, or from where it may not come."""
        whole = json.dumps(answer).encode()
        self._sightings.see("answers", whole, *(each.canaries for each in self._tenants if each is not tenant))
        self._sightings.see("errors", whole if public else beside_output(whole), tenant.canaries)
        if restricted and answer.get("zone") == "cloud":
            self._sightings.leaks["served outside"] += 1
        return dict(answer.get("error") or {}).get("kind") or "ok"
