"""A provider's models made servable: which capabilities, by which model."""

from collections.abc import Sequence
from functools import partial

import msgspec

from flotilla.capabilities.catalogue import Catalogue
from flotilla.contracts.errors import SettingsError
from flotilla.contracts.presence import ModelCard, ModelPrice
from flotilla.inference.adapters import pricing
from flotilla.inference.backend import Model
from flotilla.inference.checks import ListsModels, check_provider
from flotilla.inference.prompted import PromptedBackend
from flotilla.inference.serving import Serving
from flotilla.inference.settings import WorkerSettings

EMBED = "embed"


def serving_model(settings: WorkerSettings, model: Model, *, secrets: Sequence[str]) -> Serving:
    """
    Make a provider's models servable as `FLOTILLA_MODELS` says.

    `embed` is announced only when a model is named for it (`nomic-embed-text=embed`): a chat model's are no use.
    `secrets` are the key and the headers that `model` sends: what the provider says is told without them.

    Raises:
        SettingsError: No model is named, or a capability that cannot be served is asked for.
    """
    catalogue = Catalogue.load(settings.capability_files)
    models = settings.model_names()
    if not models:
        raise SettingsError(f"setting FLOTILLA_MODELS is missing: which models of {settings.provider} to use")
    embedding = next((name for name, only in models if EMBED in only), "")
    general = next((name for name, only in models if not only), models[0][0])
    try:
        backend = PromptedBackend(
            model,
            catalogue,
            default_model=general,
            default_embedding_model=embedding,
            capabilities=settings.capability_names(),
            output_tokens_max=settings.output_token_bounds(),
            secrets=secrets,
        )
    except ValueError as error:
        raise SettingsError(f"setting FLOTILLA_CAPABILITIES: {error}") from error
    cards = [_priced(card, settings) for card in settings.model_cards(backend.capabilities())]
    names = [name for name, _ in models]
    check = partial(check_provider, model, names, secrets=secrets) if isinstance(model, ListsModels) else None
    return Serving(backend=backend, catalogue=catalogue, models=cards, check=check)


def _priced(card: ModelCard, settings: WorkerSettings) -> ModelCard:
    """With what a call costs, as far as that is known before it is made."""
    bounds = settings.output_token_bounds()
    most = bounds.get(card.name, bounds.get("", 0))
    price = pricing.known_price(settings.provider, card.name, output_tokens_max=most)
    own = settings.price()
    if price is None and own is not None:
        # What a second costs is known when it has passed.
        price = ModelPrice(
            call_usd=own.call_usd, input_mtok_usd=own.mtok_usd, output_mtok_usd=own.mtok_usd, output_tokens_max=most
        )
    return card if price is None else msgspec.structs.replace(card, price=price)
