"""Models that the server on this machine lacks, pulled before the fleet starts (`flotilla up --pull`)."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Final

from flotilla.capabilities.errors import AttemptError
from flotilla.cli.supervisor.errors import OptionError, PullError
from flotilla.cli.supervisor.models_here import server_here
from flotilla.contracts.providers import OLLAMA_MODELS, ON_THIS_MACHINE
from flotilla.inference.adapters.own_models import FetchesModels, PullProgress
from flotilla.inference.checks import is_listed

LIST_TIMEOUT_S: Final = 10.0
SILENCE_MAX_S: Final = 120.0
"""Between two words of the server, which tells of its progress many times a second."""
SAID_EVERY_S: Final = 5.0
MB: Final = 1_000_000

Say = Callable[[str], None]


async def pull_missing(wanted: Sequence[str], environ: Mapping[str, str], say: Say) -> None:
    """
    Have the server on this machine (`ON_THIS_MACHINE`) pull those of the models that it has not, one after the other.

    Args:
        wanted: Their names.
        environ: Its address, hosts and proxy.
        say: Told of the progress, every SAID_EVERY_S.

    Raises:
        OptionError: The server cannot be used, or none answers.
        PullError: It could not pull one; or said nothing for SILENCE_MAX_S.
    """
    server = server_here(environ)
    if server is None:
        raise OptionError(f"--pull: install the extra {ON_THIS_MACHINE.extra} of the inference package")
    try:
        installed = await _installed(server)
        for model in wanted:
            if not is_listed(model, installed):
                await _pull(server, model, say)
    finally:
        await server.aclose()


async def _installed(server: FetchesModels) -> list[str]:
    try:
        return await server.models(timeout_s=LIST_TIMEOUT_S)
    except AttemptError as error:
        mend = f"start it with `{OLLAMA_MODELS.start_command}`, or correct {ON_THIS_MACHINE.address}"
        raise OptionError(f"--pull: {error.message}; {mend}") from error


async def _pull(server: FetchesModels, model: str, say: Say) -> None:
    say(f"pulling {model}")
    clock_s = asyncio.get_running_loop().time
    said_at_s = clock_s()
    try:
        async with aclosing(_heard(server.pull(model))) as told:
            async for progress in told:
                if progress.total_bytes and clock_s() - said_at_s >= SAID_EVERY_S:
                    said_at_s = clock_s()
                    share = progress.completed_bytes / progress.total_bytes
                    say(f"pulling {model}: {share:.0%} of {progress.total_bytes / MB:,.0f} MB")
    except AttemptError as error:
        raise PullError(f"pulling {model}: {error.message}; try `{OLLAMA_MODELS.pull_command} {model}`") from error
    except TimeoutError as error:
        raise PullError(f"pulling {model}: the server said nothing for {SILENCE_MAX_S:g} s") from error
    say(f"pulled {model}")


async def _heard(told: AsyncGenerator[PullProgress]) -> AsyncGenerator[PullProgress]:
    """The same, as long as the server goes on telling."""
    async with aclosing(told):
        while True:
            try:
                async with asyncio.timeout(SILENCE_MAX_S):
                    progress = await anext(told)
            except StopAsyncIteration:
                return
            yield progress
