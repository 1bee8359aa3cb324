"""The engines by name, made from a worker's settings: what a fleet without models runs on."""

from typing import Final

from flotilla.capabilities.catalogue import Catalogue
from flotilla.contracts.errors import SettingsError
from flotilla.contracts.presence import ModelCard
from flotilla.inference.engines.embedded import EmbeddedEngine
from flotilla.inference.engines.noop import NoopEngine
from flotilla.inference.serving import Serving
from flotilla.inference.settings import WorkerSettings

STAND_IN: Final = "embedded"
"""The engine that stands in for models. The noop engine stands for nothing: it is for tests and measurements."""
ENGINES: Final = (STAND_IN, "noop")


def serving_engine(settings: WorkerSettings) -> Serving:
    """
    Make the engine that `FLOTILLA_PROVIDER` names.

    Raises:
        SettingsError: There is none of the name, or it cannot do what `FLOTILLA_CAPABILITIES` lists.
    """
    catalogue = Catalogue.load(settings.capability_files)
    if settings.provider == STAND_IN:
        engine = EmbeddedEngine()
    elif settings.provider == "noop":
        engine = NoopEngine(
            capabilities=catalogue,
            latency_ms=settings.engine_latency_ms,
            jitter=settings.engine_jitter,
            failure_rate=settings.engine_failure_rate,
        )
    else:
        raise SettingsError(f"setting FLOTILLA_PROVIDER: no engine of this name; known are {', '.join(ENGINES)}")
    wanted = settings.capability_names()
    if wanted is not None and (missing := wanted - engine.capabilities()):
        raise SettingsError(f"setting FLOTILLA_CAPABILITIES: the engine cannot do {', '.join(sorted(missing))}")
    cards = engine.model_cards()
    if wanted is not None:
        cards = [
            ModelCard(name=card.name, capabilities=[name for name in card.capabilities if name in wanted])
            for card in cards
        ]
    if settings.model_names():
        cards = settings.model_cards(wanted or engine.capabilities())
    return Serving(backend=engine, catalogue=catalogue, models=cards, stand_in=settings.provider == STAND_IN)
