"""Which engine stands in for models."""

import pytest

from flotilla.chassis.settings import load_settings
from flotilla.inference.engines.choice import serving_engine
from flotilla.inference.settings import WorkerSettings


@pytest.mark.parametrize(("provider", "stands_in"), [("embedded", True), ("noop", False)])
def test_the_embedded_engine_gives_way_to_models_and_the_noop_engine_is_one_of_its_own(
    provider: str, *, stands_in: bool
):
    """
    Measurements and tests run on the noop engine, beside whatever else there is.
    """
    environ = {"FLOTILLA_ZONE": "local", "FLOTILLA_POOL": "local", "FLOTILLA_PROVIDER": provider}

    assert stands_in is serving_engine(load_settings(WorkerSettings, environ)).stand_in
