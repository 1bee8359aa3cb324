"""
A worker of one's own, run: a handler, a capability's name, and this.

    from flotilla.inference.run import run_handlers

    async def triage(ticket: dict) -> dict:
        return {"queue": "billing"}

    if __name__ == "__main__":
        run_handlers({"triage-ticket": triage}, pool="triage")
"""

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

from flotilla.chassis.service import run_service
from flotilla.contracts.subjects import Zone
from flotilla.inference.handler import Handler
from flotilla.inference.serving import serve_worker, serving_handlers
from flotilla.inference.settings import WorkerSettings


def run_handlers(handlers: Mapping[str, Handler], *, pool: str, zone: Zone = "local", slots: int = 4) -> NoReturn:
    """
    Serve capabilities with functions until a stop signal; ends the process.

    The arguments are defaults: `FLOTILLA_POOL`, `FLOTILLA_ZONE`, `FLOTILLA_SLOTS` and the other settings of a worker
    are read from the environment as for every service.
    """
    defaults = {
        "FLOTILLA_POOL": pool,
        "FLOTILLA_ZONE": zone,
        "FLOTILLA_SLOTS": str(slots),
        "FLOTILLA_PROVIDER": "handler",
    }
    for name, value in defaults.items():
        # An empty value counts as none, here as for every setting.
        os.environ[name] = os.environ.get(name) or value

    async def run(settings: WorkerSettings, replica: str) -> None:
        await serve_worker(settings, replica, serving_handlers(handlers, settings))

    sys.exit(run_service(pool, WorkerSettings, run))
