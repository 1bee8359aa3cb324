"""`flotilla bench --check`, whole: every bound of the design, as ratios of one run. Wants the machine for itself."""

import subprocess
import sys

WITHIN_S = 300


def test_every_bound_holds() -> None:
    """
    The table goes to the terminal; the exit code says it.
    """
    ended = subprocess.run(
        [sys.executable, "-m", "flotilla.cli", "bench", "--check"],
        check=False,
        timeout=WITHIN_S,
    )

    assert ended.returncode == 0
