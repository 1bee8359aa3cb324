"""
How many examples a property is tried with: a third in `make test`, all of them in `make test-properties`.

A property that breaks mostly does so within a few dozen examples; the rare counterexample is looked for where it may take
minutes.
"""

import os
from typing import Final

VARIABLE: Final = "FLOTILLA_TEST_EXAMPLES"
PART_OF: Final = 3
EXAMPLES_MIN: Final = 20


def examples(whole: int) -> int:
    """
    Of a property's examples, those of this run.

    Args:
        whole: What the property deserves. `FLOTILLA_TEST_EXAMPLES=2` in the environment gives twice as many.
    """
    times = os.environ.get(VARIABLE)
    return min(whole, max(EXAMPLES_MIN, whole // PART_OF)) if times is None else whole * int(times)
