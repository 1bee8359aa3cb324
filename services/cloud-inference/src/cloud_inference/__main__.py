"""`python -m cloud_inference`: wiring only."""

import sys

from cloud_inference.backends import serving_for
from cloud_inference.settings import CloudSettings
from flotilla.chassis.service import run_service
from flotilla.inference.serving import serve_worker


async def run(settings: CloudSettings, replica: str) -> None:
    """Serve until a stop signal, then leave gracefully."""
    await serve_worker(settings, replica, serving_for(settings))


if __name__ == "__main__":
    sys.exit(run_service("cloud-inference", CloudSettings, run))
