"""Whether the providers that this machine's environment names can serve: asked as the workers will ask."""

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path

from flotilla.cli.supervisor.environment import clean
from flotilla.contracts.providers import OWN_SERVER, Provider, provider_named
from flotilla.inference.adapters.access import Access, connect
from flotilla.inference.adapters.egress import HOSTS_SETTING, PROXY_SETTING, Egress
from flotilla.inference.adapters.extra_headers import FILE_SETTING, HEADERS_SETTING, extra_headers
from flotilla.inference.adapters.own_hosts import OwnHosts
from flotilla.inference.checks import Finding, check_provider


def named_models(text: str) -> list[str]:
    """The names in a list of models as `FLOTILLA_MODELS` takes it."""
    return [name for part in text.split(",") if (name := part.partition("=")[0].strip())]


async def check_named(provider: str, models: Iterable[str], environ: Mapping[str, str]) -> list[Finding]:
    """
    Look whether a provider answers, takes the key and has these models.

    Args:
        provider: The name of one that has a record.
        models: Their names.
        environ: Its address, key and proxy.
    """
    known = provider_named(provider)
    if known is None:
        raise ValueError(f"no provider is called {provider}")
    try:
        access = access_of(known, environ)
        adapter = connect(access)
    except ImportError:
        mend = f"install the extra {known.extra} of the inference package"
        return [Finding(subject=provider, state="wrong", says="its SDK is not installed", mend=mend)]
    except ValueError as error:
        return [Finding(subject=provider, state="wrong", says=str(error), mend="correct that variable, or unset it")]
    try:
        return await check_provider(adapter, list(models), secrets=access.secrets)
    finally:
        await adapter.aclose()


async def check_all(wanted: Mapping[str, Iterable[str]], environ: Mapping[str, str]) -> list[Finding]:
    """`check_named` of several providers, side by side."""
    found = await asyncio.gather(*(check_named(provider, models, environ) for provider, models in wanted.items()))
    return [finding for findings in found for finding in findings]


def access_of(provider: Provider, environ: Mapping[str, str]) -> Access:
    """
    How a worker would reach it.

    Raises:
        ValueError: A header, or a host of one's own, is none.
    """
    own = OwnHosts.parse(environ.get(HOSTS_SETTING, "")) if provider.zone == "local" else OwnHosts()
    egress = Egress(zone=provider.zone, proxy_url=environ.get(PROXY_SETTING) or None, own=own)
    return Access(
        provider=provider,
        api_key=_given(provider, provider.key, environ),
        base_url=_given(provider, provider.address, environ),
        egress=egress,
        headers=_headers(provider, environ),
    )


def without_headers(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a provider that the gateway's headers are not meant for."""
    return {name: value for name, value in environ.items() if name not in {HEADERS_SETTING, FILE_SETTING}}


def _headers(provider: Provider, environ: Mapping[str, str]) -> dict[str, str]:
    if provider.zone == "local" and provider is not OWN_SERVER:
        return {}
    file = environ.get(FILE_SETTING)
    return extra_headers(environ.get(HEADERS_SETTING) or None, Path(file) if file else None)


def _given(provider: Provider, variable: str, environ: Mapping[str, str]) -> str | None:
    """The value of a variable, if `flotilla up` hands it to the provider's worker."""
    handed_on = clean(environ, provider=provider.name) if provider.zone == "cloud" else environ
    return handed_on.get(variable) or None
