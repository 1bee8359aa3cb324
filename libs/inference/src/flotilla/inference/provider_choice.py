"""What a worker of one zone serves, by `FLOTILLA_PROVIDER`: an engine, or a provider's models."""

from flotilla.contracts.errors import SettingsError
from flotilla.contracts.providers import Provider, provider_named, providers_of
from flotilla.contracts.subjects import Zone
from flotilla.inference.adapters.access import Access, Adapter, connect
from flotilla.inference.engines.choice import ENGINES, serving_engine
from flotilla.inference.models import serving_model
from flotilla.inference.provider_settings import ProviderSettings
from flotilla.inference.serving import Serving


def serving_in(zone: Zone, settings: ProviderSettings, *, context_tokens: int | None = None) -> Serving:
    """
    Make what a worker of this zone serves.

    Args:
        zone: Of the service: settings and providers of another one are refused.
        settings: The worker's.
        context_tokens: For the adapter; see `Access`.

    Raises:
        SettingsError: The provider is none of this zone, its SDK is not installed, or it lacks a setting; says which.
    """
    if settings.zone != zone:
        raise SettingsError(f"setting FLOTILLA_ZONE: this service works in the {zone} zone")
    if settings.provider in ENGINES:
        return serving_engine(settings)
    provider = provider_named(settings.provider)
    if provider is None or provider.zone != zone:
        known = ", ".join((*ENGINES, *(one.name for one in providers_of(zone))))
        raise SettingsError(f"setting FLOTILLA_PROVIDER: expected one of {known}")
    access = _access(provider, settings, context_tokens)
    return serving_model(settings, _adapter(access), secrets=access.secrets)


def _access(provider: Provider, settings: ProviderSettings, context_tokens: int | None) -> Access:
    api_key, base_url = settings.key_of(provider), settings.address_of(provider)
    if provider.needs_key and not api_key:
        raise SettingsError(f"setting {provider.key} is missing")
    if provider.needs_address and not base_url:
        raise SettingsError(f"setting {provider.address} is missing: where the {provider.name} server is")
    return Access(
        provider=provider,
        api_key=api_key,
        base_url=base_url,
        egress=settings.egress(),
        connections_max=settings.slots,
        headers=settings.extra_headers(),
        context_tokens=context_tokens,
    )


def _adapter(access: Access) -> Adapter:
    provider = access.provider
    try:
        return connect(access)
    except ImportError as error:
        mend = f"install flotilla-{provider.service}[{provider.extra}], or take the image {provider.image}"
        raise SettingsError(f"setting FLOTILLA_PROVIDER: the SDK for {provider.name} is not here; {mend}") from error
    except ValueError as error:
        what = "API" if provider.zone == "cloud" else "server"
        raise SettingsError(f"the {provider.name} {what}: {error}") from error
