"""What a worker can be told: the settings that the local and the cloud service share."""

from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta

from flotilla.chassis.settings import ServiceSettings
from flotilla.contracts.errors import SettingsError
from flotilla.contracts.fields import MODEL_LENGTH_MAX, SLOTS_MAX, printable
from flotilla.contracts.names import is_name
from flotilla.contracts.presence import MODELS_MAX, ModelCard, PriceCard, PriceUsd
from flotilla.contracts.subjects import Zone
from flotilla.fabric.approver_keys import is_public_key
from flotilla.inference.adapters.egress import HOSTS_SETTING, Egress
from flotilla.inference.adapters.extra_headers import extra_headers
from flotilla.inference.adapters.own_hosts import OwnHosts
from flotilla.inference.approval_check import APPROVERS_MAX, ApprovalCheck

OUTPUT_TOKENS_SETTING: Final = "FLOTILLA_OUTPUT_TOKENS_MAX"
OUTPUT_TOKENS_MAX: Final = 1_000_000
"""Of one call."""

Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]


class WorkerSettings(ServiceSettings, frozen=True, kw_only=True):
    """
    Settings of a worker.

    Attributes:
        zone: `FLOTILLA_ZONE`; a service that serves one zone refuses the other.
        pool: `FLOTILLA_POOL`: identical replicas share it; it is their NATS queue group.
        provider: `FLOTILLA_PROVIDER`: which adapter or engine answers.
        models: `FLOTILLA_MODELS`: with commas between, the preferred first; `nomic-embed-text=embed` serves only the
            capability after `=` (several with `|`), and is then the one that serves it.
        capabilities: `FLOTILLA_CAPABILITIES`: names, with commas between; by default all that the backend can do.
        capability_files: `FLOTILLA_CAPABILITY_FILES`: a folder of TOML files that define users' own.
        output_tokens_max: `FLOTILLA_OUTPUT_TOKENS_MAX`: the most that a call may ask for; `4096` for every model,
            `qwen3:8b=20000` for one, with commas between. By default what each capability takes.
        slots: `FLOTILLA_SLOTS`: attempts at a time in this replica.
        proxy_url: `FLOTILLA_PROXY_URL`: the proxy to the provider. A local worker takes none from the environment, and
            none that is not one's own host.
        provider_headers: `FLOTILLA_PROVIDER_HEADERS`: headers that a gateway before the provider wants of its own,
            `Name: value`, a line each.
        provider_headers_file: `FLOTILLA_PROVIDER_HEADERS_FILE`: a file with the same, in its place.
        approvers: `FLOTILLA_APPROVERS`: public keys, with commas between; the provider is then sent nothing that none of
            them has granted. Empty asks for no grants.
        approval_capabilities: `FLOTILLA_APPROVAL_CAPABILITIES`: ask for grants for these alone; by default for all.
        local_hosts: `FLOTILLA_LOCAL_HOSTS`: names, addresses and networks that are one's own, beside private addresses;
            a local worker connects to nothing else.
        price_per_call_usd: `FLOTILLA_PRICE_PER_CALL_USD`: what an attempt costs here, for hardware of one's own. It and the
            two that follow add up, and count where the provider's price list says nothing.
        price_per_second_usd: `FLOTILLA_PRICE_PER_SECOND_USD`: of a second in which a slot is taken.
        price_per_mtok_usd: `FLOTILLA_PRICE_PER_MTOK_USD`: of a million tokens, in and out.
        engine_latency_ms: Of the noop engine, like the two that follow.
    """

    zone: Zone
    pool: str
    provider: str
    models: str = ""
    capabilities: str = ""
    capability_files: Path | None = None
    output_tokens_max: str = ""
    slots: Annotated[int, Meta(ge=1, le=SLOTS_MAX)] = 4
    proxy_url: str | None = None
    provider_headers: str | None = None
    provider_headers_file: Path | None = None
    approvers: str = ""
    approval_capabilities: str = ""
    local_hosts: str = ""
    price_per_call_usd: PriceUsd = 0.0
    price_per_second_usd: PriceUsd = 0.0
    price_per_mtok_usd: PriceUsd = 0.0
    engine_latency_ms: Annotated[float, Meta(ge=0.0, le=3_600_000.0)] = 0.0
    engine_jitter: Fraction = 0.0
    engine_failure_rate: Fraction = 0.0

    def price(self) -> PriceCard | None:
        """What work costs here; None where it costs nothing, or what the price list says."""
        price = PriceCard(
            call_usd=self.price_per_call_usd, second_usd=self.price_per_second_usd, mtok_usd=self.price_per_mtok_usd
        )
        return None if price == PriceCard() else price

    def checked_pool(self) -> str:
        """
        The pool's name.

        Raises:
            SettingsError: It cannot stand in a subject.
        """
        if not is_name(self.pool):
            raise SettingsError("setting FLOTILLA_POOL: expected 1 to 63 of a-z0-9-, no hyphen at either end")
        return self.pool

    def capability_names(self) -> frozenset[str] | None:
        """
        The capabilities to serve; None for all that the backend can do.

        Raises:
            SettingsError: A name cannot stand in a subject.
        """
        names = frozenset(_listed(self.capabilities))
        if not all(is_name(name) for name in names):
            raise SettingsError("setting FLOTILLA_CAPABILITIES: expected names of a-z0-9- with commas between")
        return names or None

    def approvals(self) -> ApprovalCheck | None:
        """
        What looks at grants; None where none are asked for.

        Raises:
            SettingsError: A key is none, a name cannot stand in a subject, or capabilities are named without a key.
        """
        keys, names = frozenset(_listed(self.approvers)), frozenset(_listed(self.approval_capabilities))
        if self.approvers and not (keys and len(keys) <= APPROVERS_MAX and all(map(is_public_key, keys))):
            raise SettingsError(
                f"setting FLOTILLA_APPROVERS: expected at most {APPROVERS_MAX} public keys (A..., as `flotilla approvals "
                "key` prints them) with commas between"
            )
        if self.approval_capabilities and not (keys and names and all(map(is_name, names))):
            raise SettingsError(
                "setting FLOTILLA_APPROVAL_CAPABILITIES: expected names of a-z0-9- with commas between, and public keys "
                "in FLOTILLA_APPROVERS"
            )
        return ApprovalCheck(approvers=keys, capabilities=names or None, zone=self.zone) if keys else None

    def output_token_bounds(self) -> dict[str, int]:
        """
        The most that a call may ask for, by model; that of "" is every other model's.

        Raises:
            SettingsError: An entry is no number of tokens, or stands twice.
        """
        found: dict[str, int] = {}
        for entry in _listed(self.output_tokens_max):
            model, _, tokens = entry.rpartition("=")
            if model in found or not (tokens.isdecimal() and 1 <= int(tokens[:10]) <= OUTPUT_TOKENS_MAX):
                raise SettingsError(
                    f"setting {OUTPUT_TOKENS_SETTING}: expected a number of tokens (4096) for every model, or "
                    f"model=number for one, with commas between; at most {OUTPUT_TOKENS_MAX}"
                )
            found[model] = int(tokens)
        return found

    def egress(self) -> Egress:
        """
        Which way calls to the provider take.

        Raises:
            SettingsError: `local_hosts` has something else than hosts.
        """
        try:
            own = OwnHosts.parse(self.local_hosts)
        except ValueError as error:
            raise SettingsError(f"setting {HOSTS_SETTING}: {error}") from error
        return Egress(zone=self.zone, proxy_url=self.proxy_url, own=own)

    def extra_headers(self) -> dict[str, str]:
        """
        What every request to the provider has beside the protocol's own headers.

        Raises:
            SettingsError: A line is no header that may be added, or the file cannot be read; repeats no value.
        """
        try:
            return extra_headers(self.provider_headers, self.provider_headers_file)
        except ValueError as error:
            raise SettingsError(f"setting {error}") from error

    def model_names(self) -> list[tuple[str, frozenset[str]]]:
        """
        The models in order, each with the capabilities that only it serves (empty: whatever is left).

        Raises:
            SettingsError: A model without a name, one that stands twice or is no name for a model, or too many.
        """
        found: dict[str, frozenset[str]] = {}
        for entry in _listed(self.models):
            name, _, only = entry.partition("=")
            if not name or name in found or len(found) >= MODELS_MAX:
                raise SettingsError(
                    f"setting FLOTILLA_MODELS: expected at most {MODELS_MAX} different models with commas between"
                )
            if name != printable(name, MODEL_LENGTH_MAX):
                raise SettingsError(
                    f"setting FLOTILLA_MODELS: expected names of at most {MODEL_LENGTH_MAX} printable characters"
                )
            found[name] = frozenset(part.strip() for part in only.split("|") if part.strip())
        return list(found.items())

    def model_cards(self, served: frozenset[str], *, default_model: str = "") -> list[ModelCard]:
        """Which model serves what, for the replica's card."""
        models = self.model_names() or [(default_model, frozenset[str]())]
        claimed = frozenset[str]().union(*(only for _, only in models))
        return [
            ModelCard(name=name, capabilities=sorted(served & (only or (served - claimed)))) for name, only in models
        ]


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
