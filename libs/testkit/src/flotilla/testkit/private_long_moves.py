"""
Moves that take longer than those of `private_moves`: folders by the command, approvals, policies that ask several routes.

    moves = Moves(fleet, tenants, luck, sightings, more=LongMoves(fleet, tenants, luck, sightings, ...).kinds())
"""

import json
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from flotilla.cli.prove.canaries import Canaries
from flotilla.cli.prove.documents import input_of, letter
from flotilla.testkit.commands import start_command
from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.fleet_process import clean_environ
from flotilla.testkit.plain_client import Headers, Json, PlainClient, new_task
from flotilla.testkit.private_documents import GATED, SEVERAL_ROUTES, Sightings, Tenant

PATIENCE_S: Final = 6.0
FIRST_NUMBER: Final = 50_000
"""Of persons; `Moves` begins with the first."""
FILES_MAX: Final = 4
DECIDED_MAX: Final = 3
REPEATED: Final = 2
"""How often the same is asked in a row: the second time it could come from the cache."""
DOCUMENTS: Final = ("summarize", "extract-entities")
"""Capabilities that take a document and nothing else."""
CAPABILITIES: Final = ("classify", "summarize", "reason", "chat")


class LongMoves:
    """What `Moves` may be given as `more`."""

    def __init__(
        self,
        fleet: RunningFleet,
        tenants: Sequence[Tenant],
        luck: random.Random,
        sightings: Sightings,
        *,
        approvers: Mapping[str, PlainClient],
        folder: Path,
    ) -> None:
        self._fleet = fleet
        self._approvers = approvers
        self._tenants = tenants
        self._luck = luck
        self._sightings = sightings
        self._folder = folder
        self._made = 0

    def kinds(self) -> dict[str, Callable[[Tenant], Awaitable[object]]]:
        """The moves by their names."""
        own = (self.submit_folder, self.stand_at_gate, self.decide, self.look_at_requests, self.compare)
        return {each.__name__: each for each in own}

    async def submit_folder(self, tenant: Tenant) -> str:
        """A folder of restricted documents, handed in by the command."""
        self._made += 1
        folder = self._folder / f"batch-{self._made}"
        folder.mkdir()
        for number in range(self._luck.randint(1, FILES_MAX)):
            (folder / f"{number}.txt").write_text(self._letter(tenant))
        environ = clean_environ(
            {
                "FLOTILLA_NATS_URL": self._fleet.url,
                "FLOTILLA_NATS_CREDS": str(self._fleet.server.tenant(tenant.name).creds),
                "XDG_STATE_HOME": str(self._folder),
            }
        )
        capability = self._luck.choice(DOCUMENTS)
        wishes = ("--data-class", "restricted", "--json")
        process = await start_command("submit", capability, str(folder), *wishes, environ=environ)
        out, err = await process.communicate()
        self._sightings.see("command", out + err, *(each.canaries for each in self._tenants))
        tenant.tasks.extend(
            line["submitted"]["task"] for line in map(json.loads, out.splitlines()) if "submitted" in line
        )
        return str(process.returncode)

    async def stand_at_gate(self, tenant: Tenant) -> None:
        """A run over a restricted document that waits for a person: before what is redacted leaves, or what is not."""
        headers = {"Flotilla-Data-Class": "restricted"}
        task = new_task("gated")
        body = {"document": self._letter(tenant)}
        tenant.runs.append(task)
        await tenant.client.submit(
            self._luck.choice(list(GATED)), body, headers=headers, task=task, timeout_s=PATIENCE_S
        )

    async def decide(self, tenant: Tenant) -> str:
        """The approver grants or denies some of what waits, and leaves the rest to expire."""
        approver = self._approvers[tenant.name]
        answer = await approver.api("approvals", {"limit": 100}, timeout_s=PATIENCE_S)
        self._see("lists of approvals", answer)
        waiting = answer.get("approvals", ())
        for request in self._luck.sample(waiting, min(len(waiting), DECIDED_MAX)):
            shown = await approver.api("approvals", {"verb": "show", "id": request["id"]}, timeout_s=PATIENCE_S)
            self._sightings.see("shown to approvers", json.dumps(shown).encode(), *self._others(tenant))
            decision = self._luck.choice(["grant", "grant", "deny"])
            query = {"id": request["id"], "digest": request["digest"], "decision": decision, "by": "ann"}
            self._see("decisions", await approver.api("decide", query, timeout_s=PATIENCE_S))
        return f"{min(len(waiting), DECIDED_MAX)} decided"

    async def look_at_requests(self, tenant: Tenant) -> str:
        """The approver asks for what waits elsewhere, and for what its own were decided like."""
        approver = self._approvers[tenant.name]
        for other in self._tenants:
            answer = await self._approvers[other.name].api("approvals", {"status": "all"}, timeout_s=PATIENCE_S)
            for request in self._luck.sample(answer.get("approvals", ()), min(len(answer.get("approvals", ())), 1)):
                query = {"verb": "show", "id": request["id"]}
                shown = json.dumps(await approver.api("approvals", query, timeout_s=PATIENCE_S)).encode()
                self._sightings.see("shown to approvers", shown, *self._others(tenant))
                query = {"id": request["id"], "digest": request["digest"], "decision": "grant", "by": "eve"}
                if other is not tenant:
                    decided = await approver.api("decide", query, timeout_s=PATIENCE_S)
                    self._sightings.leaks["decided by another tenant"] += int("error" not in decided)
        self._see("audit", await approver.api("approvals", {"verb": "audit"}, timeout_s=PATIENCE_S))
        return "ok"

    async def compare(self, tenant: Tenant) -> str:
        """A policy that asks several routes, or the next one, or a shadow, and keeps answers; then restricted tasks."""
        question: Json = {"verb": "set", "toml": self._luck.choice(SEVERAL_ROUTES), "force": True}
        policy = await self._tenants[0].client.api("policy", question, timeout_s=PATIENCE_S)
        end = f"set {policy.get('error', {}).get('kind', 'ok')}"
        capability = self._luck.choice(CAPABILITIES)
        body = input_of(capability, self._letter(tenant))
        headers: Headers = {"Flotilla-Data-Class": "restricted", "Flotilla-Cache": "use", "Flotilla-Sticky": "a"}
        for _ in range(REPEATED):
            answer = await tenant.client.ask(capability, body, headers=headers, timeout_s=PATIENCE_S)
            self._sightings.see("answers", json.dumps(answer.result).encode(), *self._others(tenant))
            self._sightings.leaks["served outside"] += int(answer.result.get("zone") == "cloud")
        report = await tenant.client.api("experiment", {"capability": capability}, timeout_s=PATIENCE_S)
        self._see("reports", report)
        return end

    def _letter(self, tenant: Tenant) -> str:
        self._made += 1
        return letter(tenant.canaries.person(FIRST_NUMBER + self._made))

    def _others(self, tenant: Tenant) -> list[Canaries]:
        return [each.canaries for each in self._tenants if each is not tenant]

    def _see(self, place: str, answer: Json) -> None:
        """Look at what holds nobody's document."""
        self._sightings.see(place, json.dumps(answer).encode(), *(each.canaries for each in self._tenants))
