"""
The providers: one record for each, from which whatever depends on the provider is derived.

Pure data, and below everything that reads it: the workers' settings and backends, `flotilla up` and `flotilla doctor`,
the Secrets of a cluster, the images. What cannot be derived (a manifest, a row of a table in the documentation) is
compared with the records by a test. CONTRIBUTING.md has the steps for a new one.
"""

from typing import Final

from msgspec import Struct

from flotilla.contracts.subjects import Zone


class OwnModels(Struct, frozen=True, kw_only=True):
    """
    How people come to the models of a server that they run themselves.

    Attributes:
        title: Its name, as people write it.
        site: Where it is had from.
        start_command: Starts it.
        pull_command: Has it fetch a model, whose name stands behind.
        chat_model: A small one, to begin with.
        embedding_model: The same for embeddings.
    """

    title: str
    site: str
    start_command: str
    pull_command: str
    chat_model: str
    embedding_model: str


class Provider(Struct, frozen=True, kw_only=True):
    """
    Who computes, behind one kind of API.

    Attributes:
        name: In `FLOTILLA_PROVIDER`, results, the price list.
        zone: Where its data goes; a worker of the other zone refuses it.
        adapter: The module of `flotilla.inference.adapters` that speaks its protocol. Imported only where the provider
            is used: an image has one SDK.
        extra: Of `flotilla-inference` and of the zone's service: what the adapter needs installed.
        key: The environment variable of its API key; "" where there is none.
        needs_key: Whether a worker is refused without one.
        address: The environment variable of its base URL, in the form that the adapter's module documents.
        url: Of its public API, when `address` is not set.
        needs_address: Whether a worker is refused without `address`: a server of one's own may be anywhere.
        default_model: Of its smaller ones: what `flotilla up` serves when a key is set and no model was named.
        variables: How the names of its environment variables begin; `flotilla up` gives them to its worker alone.
        has_pool: Whether `deploy/k8s` has a pool of it, which `make k8s-secrets` makes credentials for.
        answers_any_name: A server with one model, which it uses whatever model is asked for (llama.cpp).
        own_models: Of a server that fetches models when it is told to (port `FetchesModels` of its adapter).
        embed_texts_max: Texts that one call for embeddings takes; None where the API's own limit (2,048) holds.
    """

    name: str
    zone: Zone
    adapter: str
    extra: str
    key: str = ""
    needs_key: bool = False
    address: str = ""
    url: str = ""
    needs_address: bool = False
    default_model: str = ""
    variables: tuple[str, ...] = ()
    has_pool: bool = False
    answers_any_name: bool = False
    own_models: OwnModels | None = None
    embed_texts_max: int | None = None

    @property
    def service(self) -> str:
        """The service whose workers serve it."""
        return f"{self.zone}-inference"

    @property
    def image(self) -> str:
        """The image of such a worker, as `make images` names it; providers with the same extra share it."""
        return f"{self.service}-{self.extra}"

    @property
    def secret(self) -> str:
        """The Kubernetes Secret with its key."""
        return f"provider-{self.name}"


OLLAMA_MODELS: Final = OwnModels(
    title="Ollama",
    site="https://ollama.com",
    start_command="ollama serve",
    pull_command="ollama pull",
    chat_model="llama3.2",
    embedding_model="nomic-embed-text",
)
ON_THIS_MACHINE: Final = Provider(
    name="ollama",
    zone="local",
    adapter="ollama_chat",
    extra="ollama",
    address="OLLAMA_HOST",
    has_pool=True,
    own_models=OLLAMA_MODELS,
)
"""The one that `flotilla up` and `flotilla doctor` look for without being told of it."""
OWN_SERVER: Final = Provider(
    name="openai-compatible",
    zone="local",
    adapter="openai_chat",
    extra="openai",
    key="OPENAI_API_KEY",
    address="OPENAI_BASE_URL",
    needs_address=True,
    answers_any_name=True,
)
"""Any server of one's own of which nothing is known but the protocol."""

PROVIDERS: Final = (
    ON_THIS_MACHINE,
    Provider(
        name="vllm",
        zone="local",
        adapter="openai_chat",
        extra="openai",
        key="OPENAI_API_KEY",
        address="OPENAI_BASE_URL",
        needs_address=True,
        has_pool=True,
    ),
    Provider(
        name="llamacpp",
        zone="local",
        adapter="openai_chat",
        extra="openai",
        key="OPENAI_API_KEY",
        address="OPENAI_BASE_URL",
        needs_address=True,
        has_pool=True,
        answers_any_name=True,
    ),
    OWN_SERVER,
    Provider(
        name="anthropic",
        zone="cloud",
        adapter="anthropic_messages",
        extra="anthropic",
        key="ANTHROPIC_API_KEY",
        needs_key=True,
        address="ANTHROPIC_BASE_URL",
        url="https://api.anthropic.com",
        default_model="claude-haiku-5-5",
        variables=("ANTHROPIC_",),
        has_pool=True,
    ),
    Provider(
        name="openai",
        zone="cloud",
        adapter="openai_chat",
        extra="openai",
        key="OPENAI_API_KEY",
        needs_key=True,
        address="OPENAI_BASE_URL",
        url="https://api.openai.com/v1",
        default_model="gpt-5.4-mini",
        variables=("OPENAI_",),
        has_pool=True,
    ),
    Provider(
        name="gemini",
        zone="cloud",
        adapter="openai_chat",
        extra="openai",
        key="GEMINI_API_KEY",
        needs_key=True,
        address="OPENAI_BASE_URL",
        url="https://generativelanguage.googleapis.com/v1beta/openai",
        default_model="gemini-3.5-flash",
        variables=("GEMINI_", "GOOGLE_API_KEY"),
        embed_texts_max=100,
    ),
)
"""In the order in which `flotilla up` prefers those of the cloud zone when several keys are set."""


def provider_named(name: str) -> Provider | None:
    """The record of a provider; None for an engine, a handler of one's own, and what nobody knows."""
    return next((provider for provider in PROVIDERS if provider.name == name), None)


def providers_of(zone: Zone) -> tuple[Provider, ...]:
    """Those of a zone, the preferred first."""
    return tuple(provider for provider in PROVIDERS if provider.zone == zone)
