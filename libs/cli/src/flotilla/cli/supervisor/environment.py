"""
The environment of each child: configuration by variables alone, and no key that its service must not have.

Pure. What the supervisor inherited of `FLOTILLA_*` is not passed on: services refuse names they do not know, and a
fleet must not take its settings from a shell that somebody configured for another one.
"""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from msgspec import Struct, structs

from flotilla.cli.supervisor.engines import Engines
from flotilla.cli.supervisor.options import UpOptions, scopes_of
from flotilla.cli.supervisor.portal import PortalFiles
from flotilla.contracts.names import DEFAULT_SCOPE, REDACTION_POOL
from flotilla.contracts.providers import PROVIDERS
from flotilla.contracts.subjects import Zone
from flotilla.inference.adapters.egress import HOSTS_SETTING, PROXY_SETTING
from flotilla.inference.adapters.extra_headers import FILE_SETTING, HEADERS_SETTING
from flotilla.inference.settings import OUTPUT_TOKENS_SETTING
from flotilla.provisioning.topology import TopologyLimits

_PREFIX: Final = "FLOTILLA_"
_KEY_SUFFIX: Final = "_API_KEY"
_OF_PROVIDER: Final = {provider.name: provider.variables for provider in PROVIDERS}
"""What belongs to a provider, by the beginning of its name: for the worker that serves it, and for nobody else."""
STORE_BOUNDS: Final = tuple(
    f"FLOTILLA_{field.name.upper()}" for field in structs.fields(TopologyLimits) if field.name != "replicas"
)
"""What the orchestrator's stores may hold: the one thing about them that whoever starts a fleet may have to say."""

_OF_WORKERS: Final = (PROXY_SETTING, HOSTS_SETTING, OUTPUT_TOKENS_SETTING)
"""What the workers are told of the machine's network and of its models; it is the same for every fleet."""


class Place(Struct, frozen=True, kw_only=True):
    """Where a child connects, as whom, and what it is called."""

    nats_url: str
    creds: str
    instance: str


def clean(environ: Mapping[str, str], *, provider: str = "") -> dict[str, str]:
    """What is left of an environment for a service of this provider (none: no keys at all)."""
    own = _OF_PROVIDER.get(provider, ())
    return {name: value for name, value in environ.items() if name.startswith(own) or not _is_withheld(name)}


def of_orchestrator(options: UpOptions, place: Place, environ: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of an orchestrator: it holds no keys."""
    bounds = {name: environ[name] for name in STORE_BOUNDS if name in environ}
    own = {"FLOTILLA_SCOPES": ",".join(scopes_of(options)), "FLOTILLA_STREAM_REPLICAS": "1"}
    return clean(environ) | _common(options, place) | bounds | own


def of_sealed_orchestrator(options: UpOptions, place: Place, environ: Mapping[str, str]) -> dict[str, str]:
    """
    The same of one that serves the sealed lane.

    The lane has a policy of its own, which no admin of the fleet can set: it is told the file.
    """
    own = {"FLOTILLA_LANE": "sealed"}
    if options.policy is not None:
        own["FLOTILLA_POLICY_FILE"] = str(options.policy.absolute())
    return of_orchestrator(options, place, environ) | own


def of_worker(
    zone: Zone, options: UpOptions, engines: Engines, place: Place, environ: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of a worker; its pool is called after its zone. A local one holds no keys."""
    provider = engines.local if zone == "local" else engines.cloud
    own = _common(options, place) | {name: environ[name] for name in _OF_WORKERS if environ.get(name)}
    own |= {
        "FLOTILLA_ZONE": zone,
        "FLOTILLA_POOL": zone,
        "FLOTILLA_PROVIDER": provider,
    }
    models = options.local_models if zone == "local" else options.cloud_models
    models = models or ",".join(engines.local_models if zone == "local" else engines.cloud_models)
    if models and provider != "embedded":  # which has its own, and says so
        own["FLOTILLA_MODELS"] = models
    if options.slots is not None:
        own["FLOTILLA_SLOTS"] = str(options.slots)
    if provider == "noop":
        own |= {
            "FLOTILLA_ENGINE_LATENCY_MS": str(options.engine_latency_ms),
            "FLOTILLA_ENGINE_JITTER": str(options.engine_jitter),
            "FLOTILLA_ENGINE_FAILURE_RATE": str(options.engine_failure_rate),
        }
    if zone == "cloud":
        own |= headers_told(environ)
    return clean(environ, provider=provider if zone == "cloud" else "") | own


def headers_told(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables with a gateway's headers, its file by its whole path: for the one provider that they are meant for."""
    told = {HEADERS_SETTING: environ[HEADERS_SETTING]} if environ.get(HEADERS_SETTING) else {}
    return told | ({FILE_SETTING: str(Path(environ[FILE_SETTING]).absolute())} if environ.get(FILE_SETTING) else {})


def of_redaction(options: UpOptions, place: Place, key_file: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a worker that redacts: it alone is told where the vaults' key is."""
    own = {
        "FLOTILLA_ZONE": "local",
        "FLOTILLA_POOL": REDACTION_POOL,
        "FLOTILLA_PROVIDER": "redaction",
        "FLOTILLA_VAULT_KEY_FILE": str(key_file),
    }
    if options.slots is not None:
        own["FLOTILLA_SLOTS"] = str(options.slots)
    return clean(environ) | _common(options, place) | own


def of_portal(
    options: UpOptions, place: Place, files: PortalFiles, listening: socket.socket, environ: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of the portal: an observer's credentials, and no keys."""
    return clean(environ) | {
        "FLOTILLA_NATS_URL": place.nats_url,
        "FLOTILLA_NATS_CREDS": place.creds,
        "FLOTILLA_INSTANCE": place.instance,
        "FLOTILLA_LOG_LEVEL": options.log_level,
        "FLOTILLA_SCOPES": DEFAULT_SCOPE,
        "FLOTILLA_PORTAL_PORT": str(listening.getsockname()[1]),
        "FLOTILLA_PORTAL_FD": str(listening.fileno()),
        "FLOTILLA_PORTAL_PEOPLE": str(files.people),
        "FLOTILLA_PORTAL_SESSION_KEY_FILE": str(files.session_key),
    }


def _common(options: UpOptions, place: Place) -> dict[str, str]:
    own = {
        "FLOTILLA_NATS_URL": place.nats_url,
        "FLOTILLA_NATS_CREDS": place.creds,
        "FLOTILLA_INSTANCE": place.instance,
        "FLOTILLA_GRACE_S": str(options.grace_s),
        "FLOTILLA_LOG_LEVEL": options.log_level,
    }
    if options.capabilities is not None:
        own["FLOTILLA_CAPABILITY_FILES"] = str(options.capabilities.absolute())
    return own


def _is_withheld(name: str) -> bool:
    prefixes = tuple(prefix for prefixes in _OF_PROVIDER.values() for prefix in prefixes)
    return name.startswith((_PREFIX, *prefixes)) or name.endswith(_KEY_SUFFIX)
