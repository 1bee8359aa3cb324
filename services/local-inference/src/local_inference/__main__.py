"""`python -m local_inference`: wiring only."""

import sys

from flotilla.chassis.service import run_service
from flotilla.inference.serving import serve_worker
from local_inference.backends import serving_for
from local_inference.settings import LocalSettings


async def run(settings: LocalSettings, replica: str) -> None:
    """Serve until a stop signal, then leave gracefully."""
    await serve_worker(settings, replica, serving_for(settings))


if __name__ == "__main__":
    sys.exit(run_service("local-inference", LocalSettings, run))
