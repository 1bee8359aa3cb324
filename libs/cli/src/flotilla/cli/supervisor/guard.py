"""
The guard: a tiny process that outlives a killed supervisor by just long enough to end the children it left behind.

Run as a program of its own, without site packages: it reads `+NAME PID` and `-NAME` lines from standard input, and the
end of that input means that the supervisor is gone, however it went. The services are killed (the fleet is built for
that); nats-server is asked to stop after them, so that it closes its files. The guard holds
the lock on the fleet's directory meanwhile, so that the next `flotilla up` waits for the ground to be clear.
"""

import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

NATS = "nats"
STOP_TIMEOUT_S = 5.0
POLL_S = 0.01


def main() -> None:
    """Follow the supervisor's list until it ends, then clear up what is still on it."""
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    pids: dict[str, int] = {}
    for line in sys.stdin:
        name, _, pid = line[1:].strip().partition(" ")
        if line.startswith("+"):
            pids[name] = int(pid)
        else:
            pids.pop(name, None)
    server = pids.pop(NATS, None)
    for pid in pids.values():
        _send(pid, signal.SIGKILL)
    _await_ends(list(pids.values()))
    if server is not None:
        _send(server, signal.SIGTERM)
        _await_ends([server])
        _send(server, signal.SIGKILL)


def _await_ends(pids: list[int]) -> None:
    give_up_at = time.monotonic() + STOP_TIMEOUT_S
    while any(_is_alive(pid) for pid in pids) and time.monotonic() < give_up_at:
        time.sleep(POLL_S)


def _send(pid: int, which: signal.Signals) -> None:
    with suppress(OSError):
        os.kill(pid, which)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    try:
        # A zombie that nobody reaps has closed its files.
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return True


if __name__ == "__main__":
    main()
