"""A policy in a file, put in force by whoever starts the fleet."""

from pathlib import Path

from flotilla.chassis.policy_toml import read_policy
from flotilla.client.addresses import Addresses
from flotilla.client.api_calls import ApiCalls
from flotilla.client.link import linked
from flotilla.client.policy import PolicyBook
from flotilla.contracts.names import DEFAULT_SCOPE
from flotilla.fabric.connection import NatsSettings

AUTHOR = "flotilla up"


async def put_in_force(path: Path, settings: NatsSettings) -> list[str]:
    """
    Put the policy in a file in force, unless it is so already; gives the warnings.

    Raises:
        PolicyError: See `read_policy`.
        TaskError: The fleet refused it.
        NoFleetError: Nobody answers.
    """
    text = read_policy(path)
    async with linked(settings, Addresses(DEFAULT_SCOPE), name="flotilla up") as link:
        book = PolicyBook(ApiCalls(link))
        before = await book.get()
        if before.revision and before.toml == text:
            return (await book.check(text)).warnings
        # Pools that are started by hand, beside those of `up`, are still to come.
        return (await book.set(text, author=AUTHOR, force=True)).warnings
