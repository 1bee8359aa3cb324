"""The routing policy of the fleet: read, checked, changed, and taken back."""

from typing import Final

from flotilla.client.api_calls import ApiCalls
from flotilla.contracts.api_routing import (
    POLICY_BYTES_MAX,
    PolicyHistory,
    PolicyQuery,
    PolicyReply,
    PolicyVersion,
)
from flotilla.contracts.errors import TaskError
from flotilla.contracts.failures import ErrorKind
from flotilla.routing.policy_check import parse_policy

_VERB: Final = "policy"


class PolicyBook:
    """
    The routing policy, `fleet.policy`. A change is followed by every orchestrator within a second.

        await fleet.policy.set(Path("policy.toml").read_text(), author="ops")
        await fleet.policy.rollback()

    Everything here raises `NoFleetError` when nobody answers.
    """

    def __init__(self, api_calls: ApiCalls) -> None:
        self._api_calls = api_calls

    async def get(self, revision: int | None = None) -> PolicyReply:
        """
        The policy in force (`revision` is 0 when there is none), or an older one.

        Raises:
            TaskError: `not_found`: the bucket has no such revision any more.
        """
        return await self._ask(PolicyQuery(verb="get", revision=revision))

    async def check(self, toml: str) -> PolicyReply:
        """
        What setting this document would come to; changes nothing. Its `warnings` compare it with the live fleet.

        Raises:
            PolicyError: It is not a policy; `faults` has everything that is wrong with it, each with its key.
            TaskError: `too_large`, or the fleet's version refuses it.
        """
        _check(toml)
        return await self._ask(PolicyQuery(verb="check", toml=toml))

    async def set(
        self, toml: str, *, expected_revision: int | None = None, author: str = "", force: bool = False
    ) -> PolicyReply:
        """
        Put a document in force; gives its revision, and the same warnings as `check`.

        Args:
            toml: At most 256 KiB.
            expected_revision: Only if this one is in force; 0 for none.
            author: For the history, at most 128 characters.
            force: Also where it leaves a capability that is served now without a live route.

        Raises:
            PolicyError: It is not a policy; nothing was changed.
            TaskError: `conflict`: another revision is in force; `not_permitted`: this scope may not change the policy;
                `no_route`: it leaves a capability without a live route, and is not forced; `too_large`.
        """
        _check(toml)
        return await self._ask(
            PolicyQuery(verb="set", toml=toml, expected_revision=expected_revision, author=author, force=force),
        )

    async def unset(self, *, expected_revision: int | None = None, author: str = "") -> PolicyReply:
        """
        Have no policy in force: any live pool, local first, the cloud where the data may go. The history stays, with the
        author of this (at most 128 characters).

        Raises:
            TaskError: `conflict`, `not_permitted`: as `set`.
        """
        return await self._ask(PolicyQuery(verb="unset", expected_revision=expected_revision, author=author))

    async def history(self) -> list[PolicyVersion]:
        """The versions that the fleet still has (the last ten), newest first."""
        return (await self._api_calls.ask(_VERB, PolicyQuery(verb="history"), PolicyHistory)).versions

    async def rollback(
        self,
        revision: int | None = None,
        *,
        expected_revision: int | None = None,
        author: str = "",
        force: bool = False,
    ) -> PolicyReply:
        """
        Put an older version in force again, under a new revision.

        Unless told which, the last other one that leaves every capability a live route; where the policy in force was the
        first, none (the reply's `revision` is 0).

        Raises:
            TaskError: `not_found`: there is no such revision, or no older one; else as `set`.
        """
        query = PolicyQuery(
            verb="rollback", revision=revision, expected_revision=expected_revision, author=author, force=force
        )
        return await self._ask(query)

    async def _ask(self, query: PolicyQuery) -> PolicyReply:
        return await self._api_calls.ask(_VERB, query, PolicyReply)


def _check(toml: str) -> None:
    size = len(toml.encode())
    if size > POLICY_BYTES_MAX:
        details = {"limit_bytes": POLICY_BYTES_MAX, "size_bytes": size}
        raise TaskError(ErrorKind.TOO_LARGE, f"a policy has at most {POLICY_BYTES_MAX} bytes", details=details)
    parse_policy(toml)
