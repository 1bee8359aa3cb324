"""Processes of the benchmark's own: each says one line when it serves, and ends with its standard input."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

from flotilla.cli.bench.errors import BenchError

READY_WITHIN_S: Final = 20.0


@asynccontextmanager
async def child(module: str, *arguments: str, name: str) -> AsyncGenerator[tuple[int, bytes]]:
    """
    Run a module while the block runs; gives its process id and the line that it said, without white space around it.

    Args:
        module: As `python -m` takes it.
        arguments: For it.
        name: For the failure.

    Raises:
        BenchError: It said nothing within READY_WITHIN_S.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    line = b""
    try:
        if process.stdout is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(READY_WITHIN_S):
                    line = (await process.stdout.readline()).strip()
        if not line:
            raise BenchError(f"{name} did not come up")
        yield process.pid, line
    finally:
        # It holds nothing that would be lost.
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
