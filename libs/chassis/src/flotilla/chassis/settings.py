"""
Settings come from environment variables alone, so that a container, a systemd unit or a shell can give them.

A field `grace_s` of a settings Struct is read from `FLOTILLA_GRACE_S`. A `FLOTILLA_*` name that no field has is
refused: a misspelt option must not pass silently. Fields with a `foreign` name (`OLLAMA_HOST`) are read from that name.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

from flotilla.contracts.errors import SettingsError
from flotilla.contracts.fields import Instance
from flotilla.contracts.patterns import in_words, pattern
from flotilla.fabric.connection import URL_EXPECTED, NatsSettings, is_url
from flotilla.fabric.errors import CredentialsError
from flotilla.fabric.seed_files import check_file

PREFIX: Final = "FLOTILLA_"
Seconds = Annotated[float, Meta(ge=0.0, le=86_400.0)]
Port = Annotated[int, Meta(ge=0, le=65_535)]
LogLevel = Annotated[str, Meta(pattern=pattern("^(debug|info|warning|error)$", "debug, info, warning or error"))]


class ServiceSettings(Struct, frozen=True, kw_only=True):
    """
    What every service can be told.

    Attributes:
        nats_url: `FLOTILLA_NATS_URL`; several with commas between.
        nats_creds: An nkey seed file, or a `.creds` file.
        http_port: Of the probes and metrics; 0 for a free one, none when it is not set.
        http_host: The address they listen on.
        grace_s: How long work may go on after a stop signal.
    """

    nats_url: str = "nats://127.0.0.1:4222"
    nats_creds: Path | None = None
    nats_user: str | None = None
    nats_password: str | None = None
    nats_tls_ca: Path | None = None
    http_port: Port | None = None
    http_host: str = "0.0.0.0"  # noqa: S104  (a pod's probes come from outside it)
    grace_s: Seconds = 30.0
    log_level: LogLevel = "info"
    instance: Instance | None = None

    def check_files(self) -> None:
        """
        Refuse files that nothing can be connected with; `load_settings` looks at none.

        Raises:
            SettingsError: The credentials or the CA bundle cannot be used.
        """
        if self.nats_creds is not None:
            try:
                check_file(self.nats_creds)
            except CredentialsError as error:
                raise SettingsError(f"setting FLOTILLA_NATS_CREDS: {error.reason}") from error
        if self.nats_tls_ca is not None:
            try:
                self.nats_tls_ca.read_bytes()
            except OSError as error:
                reason = error.strerror or type(error).__name__
                raise SettingsError(f"setting FLOTILLA_NATS_TLS_CA: {reason}") from error

    def nats(self, inbox_prefix: str) -> NatsSettings:
        """The connection that these settings describe, for a role with this inbox prefix."""
        return NatsSettings(
            url=self.nats_url,
            creds=self.nats_creds,
            user=self.nats_user,
            password=self.nats_password,
            tls_ca=self.nats_tls_ca,
            inbox_prefix=inbox_prefix,
        )


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def load_settings(kind: type[SettingsT], environ: Mapping[str, str]) -> SettingsT:
    """
    Read a service's settings.

    Raises:
        SettingsError: An unknown `FLOTILLA_*` name, a missing or a malformed value. Values are not repeated in the
            text: they may be secrets.
    """
    names = _environment_names(kind)
    unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in names)
    if unknown:
        raise SettingsError(f"unknown setting {unknown[0]}; known are {', '.join(sorted(names))}")
    given: dict[str, Any] = {}
    for name, field in names.items():
        value = environ.get(name)
        if value is not None and value != "":
            given[field] = value
    try:
        settings = msgspec.convert(given, kind, strict=False, dec_hook=_from_text)
    except (msgspec.ValidationError, ValueError) as error:
        raise SettingsError(_explain(str(error), names)) from None
    if not is_url(settings.nats_url):
        raise SettingsError(f"setting FLOTILLA_NATS_URL: {URL_EXPECTED}")
    return settings


def environment_names(kind: type[ServiceSettings]) -> frozenset[str]:
    """Every environment variable that a service reads; the manifests are checked against it."""
    return frozenset(_environment_names(kind))


def _environment_names(kind: type[ServiceSettings]) -> dict[str, str]:
    names: dict[str, str] = {}
    for field in msgspec.structs.fields(kind):
        name = getattr(kind, "__foreign__", {}).get(field.name, PREFIX + field.name.upper())
        names[name] = field.name
    return names


def _from_text(kind: type, value: Any) -> Any:
    if kind is Path:
        return Path(value)
    raise NotImplementedError


def _explain(text: str, names: Mapping[str, str]) -> str:
    by_field = {field: name for name, field in names.items()}
    at = re.search(r"`\$\.(\w+)", text)
    missing = re.search(r"missing required field `(\w+)`", text)
    if missing:
        return f"setting {by_field.get(missing[1], missing[1])} is missing"
    reason = in_words(text.partition(" - at ")[0])
    if reason.startswith("Invalid value"):
        reason = "value not allowed"
    return f"setting {by_field.get(at[1], at[1])}: {reason}" if at else f"settings: {reason}"
