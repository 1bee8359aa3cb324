"""A policy in a file: read, checked, and put in force by whoever starts the fleet."""

from pathlib import Path

from flotilla.client.addresses import Addresses
from flotilla.client.link import linked
from flotilla.client.policy import PolicyBook
from flotilla.client.questions import Questions
from flotilla.contracts.api_routing import POLICY_BYTES_MAX
from flotilla.contracts.errors import PolicyError
from flotilla.contracts.policy_check import parse_policy
from flotilla.fabric.connection import NatsSettings
from flotilla.fabric.server_config import DEFAULT_SCOPE

AUTHOR = "flotilla up"


def read_policy(path: Path) -> str:
    """
    The text of a file that is a policy.

    Raises:
        PolicyError: It cannot be read, or is none; every fault begins with the file's name.
    """
    try:
        raw = path.read_bytes()
        text = raw.decode()
    except OSError as error:
        raise PolicyError([f"{path}: {error.strerror or type(error).__name__}"]) from error
    except UnicodeDecodeError as error:
        raise PolicyError([f"{path}: not text in UTF-8"]) from error
    if len(raw) > POLICY_BYTES_MAX:
        raise PolicyError([f"{path}: {len(raw)} bytes, and a policy has at most {POLICY_BYTES_MAX}"])
    try:
        parse_policy(text)
    except PolicyError as error:
        raise PolicyError([f"{path}: {fault}" for fault in error.faults]) from error
    return text


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
        book = PolicyBook(Questions(link))
        before = await book.get()
        if before.revision and before.toml == text:
            return (await book.check(text)).warnings
        return (await book.set(text, author=AUTHOR)).warnings
