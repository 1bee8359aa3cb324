"""API requests about the policy: `api.policy` reads, checks, changes and takes it back."""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from flotilla.contracts import subjects
from flotilla.contracts.api_routing import PolicyHistory, PolicyQuery, PolicyReply, PolicyVersion
from flotilla.contracts.clock import unix_ms
from flotilla.contracts.errors import BadRequestError, NoPolicyError, PolicyError, TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.contracts.policy import Policy, decode_policy
from flotilla.fabric import keyvalue
from flotilla.fabric.inbox import Requests
from flotilla.fabric.keyvalue import Entry
from flotilla.provisioning.topology import HISTORY
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.policy_check import parse_policy, warnings
from flotilla.routing.router import PolicyRouter
from flotilla.routing.unserved import unserved
from orchestrator.api.requests import ApiRequest, decode_query
from orchestrator.policy_and_health.policy_documents import POLICY_KEY, Source, last_good, source_of, stored, unset_by
from orchestrator.state.fleet import Fleet

LOOKED_AT_ONCE_MAX: Final = 64
"""Capabilities between two turns of the event loop."""
NAMED_MAX: Final = 20
"""Capabilities that one error names; the others are counted."""


class PolicyHandlers:
    """
    Reads, checks and changes the fleet's policy.

    A tenant may change it only when its scope is among `policy_scopes`; a user of the FLEET account whose permissions let
    it ask may always.
    """

    def __init__(
        self,
        requests: Requests,
        *,
        instance: str,
        router: PolicyRouter,
        fleet: Fleet,
        pipelines: frozenset[str],
        policy_scopes: frozenset[str],
    ) -> None:
        self._requests = requests
        self._instance = instance
        self._router = router
        self._fleet = fleet
        self._pipelines = pipelines
        self._policy_scopes = policy_scopes

    async def answer(self, question: ApiRequest) -> PolicyReply | PolicyHistory:
        """Do what the question asks for."""
        query = decode_query(question, PolicyQuery)
        if query.verb in ("set", "rollback", "unset"):
            self._may_change(question)
        match query.verb:
            case "get":
                return await self._get(query)
            case "check":
                return (await self._checked(query.toml)).reply
            case "set":
                return await self._set(query, await self._checked(query.toml))
            case "history":
                return await self._history()
            case "rollback":
                return await self._rollback(query)
            case "unset":
                return await self._unset(query)

    def _may_change(self, question: ApiRequest) -> None:
        if question.from_tenant and question.scope not in self._policy_scopes:
            raise TaskError(ErrorKind.NOT_PERMITTED, f"the scope {question.scope} may not change the fleet's policy")

    async def _get(self, query: PolicyQuery) -> PolicyReply:
        if query.revision is not None:
            return await self._version(query.revision)
        entry = await keyvalue.get(self._requests, subjects.POLICY_BUCKET, POLICY_KEY)
        if entry is None or entry.deleted:
            return PolicyReply(revision=0)
        reply = _reply(entry)
        try:
            decode_policy(entry.body)
        except PolicyError as error:
            kept = f"{self._instance} does not understand it, and keeps to revision {self._router.policy.revision}"
            return msgspec.structs.replace(reply, warnings=[f"{kept}: {error.faults[0]}"])
        return reply

    async def _checked(self, toml: str | None) -> "_Checked":
        """
        What setting a document would come to.

        Raises:
            TaskError: `bad_request`: it is no policy; with every fault.
        """
        if toml is None:
            raise BadRequestError("the question has no policy", path="$.toml", expected="a TOML document")
        try:
            policy = parse_policy(toml)
            self._refuse_zones_of_pipelines(policy)
        except PolicyError as error:
            raise TaskError(
                ErrorKind.BAD_REQUEST, f"the policy is not valid: {error.faults[0]}", details={"faults": error.faults}
            ) from error
        found = warnings(policy, self._fleet.view.pools.keys(), self._fleet.capabilities())
        left = await self._unserved(policy)
        if left:
            found.append(f"{_named(left)}: no live route by this policy; {self._live()}")
        return _Checked(PolicyReply(revision=0, toml=toml, warnings=found), left)

    def _refuse_zones_of_pipelines(self, policy: Policy) -> None:
        """Only a fleet knows which capabilities are pipelines; in a policy that came otherwise these zones say nothing."""
        faults = [
            f"capabilities.{name}.approval.zones: {name} is a pipeline, whose gate stands before its first step: "
            "leave zones out, or gate the capabilities of its steps"
            for name, entry in policy.capabilities.items()
            if entry.approval is not None and entry.approval.zones is not None and name in self._pipelines
        ]
        if faults:
            raise PolicyError(faults)

    async def _unserved(self, policy: Policy) -> list[str]:
        compiled = CompiledPolicy(policy, self._router.policy.held)
        capabilities = sorted(self._fleet.capabilities())
        found: list[str] = []
        for start in range(0, len(capabilities), LOOKED_AT_ONCE_MAX):
            found += unserved(compiled, self._fleet.view, capabilities[start : start + LOOKED_AT_ONCE_MAX])
            await asyncio.sleep(0)
        return found

    def _live(self) -> str:
        pools = sorted(self._fleet.view.pools)
        return f"live pools are {', '.join(pools[:NAMED_MAX])}" if pools else "no pool is live"

    async def _set(self, query: PolicyQuery, checked: "_Checked") -> PolicyReply:
        if checked.unserved and not query.force:
            raise TaskError(
                ErrorKind.NO_ROUTE,
                f"this policy leaves {_named(checked.unserved)} without a live route ({self._live()}); nothing was "
                "changed. Where its pools are still to come, `force` (--force) puts it in force all the same",
                details={"unserved": checked.unserved[:NAMED_MAX]},
            )
        reply = checked.reply
        source = Source(toml=reply.toml, author=query.author, at_unix_ms=unix_ms())
        revision = await keyvalue.put(
            self._requests,
            subjects.POLICY_BUCKET,
            POLICY_KEY,
            stored(source),
            expected_revision=await self._expected(query.expected_revision),
        )
        if revision is None:
            raise _changed_meanwhile(query.expected_revision)
        return msgspec.structs.replace(reply, revision=revision, author=query.author, at_unix_ms=source.at_unix_ms)

    async def _expected(self, revision: int | None) -> int | None:
        """The key's revision where that of the policy is expected: 0, none, may be a deletion."""
        if revision != 0:
            return revision
        newest = await keyvalue.get(self._requests, subjects.POLICY_BUCKET, POLICY_KEY)
        return newest.revision if newest is not None and newest.deleted else 0

    async def _unset(self, query: PolicyQuery) -> PolicyReply:
        """Have no policy in force; its history stays."""
        newest = await keyvalue.get(self._requests, subjects.POLICY_BUCKET, POLICY_KEY)
        if newest is None or newest.deleted:
            if query.expected_revision:
                raise _changed_meanwhile(query.expected_revision)
            return PolicyReply(revision=0)
        expected = query.expected_revision
        deleted = await keyvalue.delete(
            self._requests,
            subjects.POLICY_BUCKET,
            POLICY_KEY,
            expected_revision=expected,
            body=unset_by(query.author, unix_ms()),
        )
        if deleted is None:
            raise _changed_meanwhile(expected)
        return PolicyReply(revision=0)

    async def _history(self) -> PolicyHistory:
        entries = await keyvalue.history(self._requests, subjects.POLICY_BUCKET, POLICY_KEY)
        in_force = _in_force(entries)
        return PolicyHistory(
            versions=[
                _unset_version(entry) if entry.deleted else _version(entry, in_force)
                for entry in reversed(entries)
                if entry.deleted or _is_version(entry)
            ]
        )

    async def _version(self, revision: int) -> PolicyReply:
        for entry in await keyvalue.history(self._requests, subjects.POLICY_BUCKET, POLICY_KEY):
            if entry.revision == revision and _is_version(entry):
                return _reply(entry)
        raise TaskError(ErrorKind.NOT_FOUND, f"the bucket has no policy of revision {revision}")

    async def _rollback(self, query: PolicyQuery) -> PolicyReply:
        """Put an older version in force again, as a new revision: the one given, else the last good one, else none."""
        if query.revision is not None:
            old = await self._version(query.revision)
            if not old.toml:
                # Written past the API: an empty text would be a policy that says nothing.
                text = f"the policy of revision {query.revision} has no text to go back to"
                raise TaskError(ErrorKind.NOT_FOUND, text)
            return await self._set(query, await self._checked(old.toml))
        entries = await keyvalue.history(self._requests, subjects.POLICY_BUCKET, POLICY_KEY)
        if not entries:
            raise TaskError(ErrorKind.NOT_FOUND, "there was no policy yet")
        good = await self._last_good(entries)
        return await (self._unset(query) if good is None else self._set(query, good))

    async def _last_good(self, entries: Sequence[Entry]) -> "_Checked | None":
        """
        What was in force before, of a key's history (oldest first); None when that was no policy at all.

        Good is what another text than the one in force says, can be read, and leaves every capability a live route.

        Raises:
            TaskError: `not_found`: nothing in the history is, and what came before it is not known.
        """
        in_force = _in_force(entries)
        now = next((source_of(entry.body).toml for entry in entries if entry.revision == in_force), "")
        for entry in reversed(entries):
            if entry.revision >= in_force:
                continue
            if entry.deleted:
                return None
            toml = source_of(entry.body).toml
            if not toml or toml == now:
                continue
            try:
                checked = await self._checked(toml)
            except TaskError:
                continue  # of another version
            if not checked.unserved:
                return checked
        if len(entries) < HISTORY:
            return None
        raise TaskError(
            ErrorKind.NOT_FOUND,
            "no older policy that the fleet still has leaves every capability a live route; `flotilla policy history` "
            "lists them, `flotilla policy rollback REVISION --force` takes one, `flotilla policy unset` none",
        )


class _Checked(NamedTuple):
    """A document that is a policy: the reply to it, and the capabilities that it would leave without a live route."""

    reply: PolicyReply
    unserved: list[str]


def _in_force(entries: Sequence[Entry]) -> int:
    """The revision, of a key's history, that counts; that of the deletion where none does."""
    good = last_good(entries)
    return good.revision if good is not None else entries[-1].revision if entries else 0


def _is_version(entry: Entry) -> bool:
    """Whether an entry was meant as a policy, understood here or not."""
    if entry.deleted:
        return False
    try:
        decode_policy(entry.body)
    except NoPolicyError:
        return False
    except PolicyError:
        pass
    return True


def _version(entry: Entry, in_force: int) -> PolicyVersion:
    source = source_of(entry.body)
    return PolicyVersion(
        revision=entry.revision,
        author=source.author,
        at_unix_ms=source.at_unix_ms,
        in_force=entry.revision == in_force,
    )


def _unset_version(entry: Entry) -> PolicyVersion:
    author = source_of(entry.body).author
    return PolicyVersion(revision=entry.revision, author=author, at_unix_ms=entry.stored_unix_ms, unset=True)


def _reply(entry: Entry) -> PolicyReply:
    source = source_of(entry.body)
    return PolicyReply(revision=entry.revision, toml=source.toml, author=source.author, at_unix_ms=source.at_unix_ms)


def _changed_meanwhile(expected: int | None) -> TaskError:
    return TaskError(
        ErrorKind.CONFLICT,
        f"the policy is not at revision {expected} any more; get it, and apply the change to what it is now",
        details={"expected_revision": expected},
    )


def _named(capabilities: Sequence[str]) -> str:
    more = len(capabilities) - NAMED_MAX
    return ", ".join(capabilities[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
