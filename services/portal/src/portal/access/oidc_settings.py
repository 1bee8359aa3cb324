"""What a portal is told of an OpenID Connect provider, checked."""

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from flotilla.contracts.errors import SettingsError

URL_LENGTH_MAX: Final = 512
SECRET_BYTES_MAX: Final = 1024
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class OidcSettings(Struct, frozen=True, kw_only=True):
    """
    A provider.

    Attributes:
        issuer: As the provider writes it, to the letter; its configuration is read below it.
        client_secret: Empty for a public client, whom PKCE alone protects.
        scope: What is asked for, with spaces between.
        login_claim: The claim of the ID token that is somebody's `login`.
        groups_claim: The claim that lists their groups.
    """

    issuer: str
    client_id: str
    client_secret: str
    scope: str
    login_claim: str
    groups_claim: str


def oidc_settings_of(
    *, issuer: str, client_id: str, secret_file: Path | None, scope: str, login_claim: str, groups_claim: str
) -> OidcSettings | None:
    """
    The provider that settings name; None without one.

    Raises:
        SettingsError: One is missing or wrong; repeats no secret.
    """
    if not issuer:
        if client_id or secret_file is not None:
            raise SettingsError(
                "setting FLOTILLA_PORTAL_OIDC_ISSUER is missing: the other ones are of no use without it"
            )
        return None
    if not is_provider_url(issuer, local=True) or urlsplit(issuer).query or urlsplit(issuer).fragment:
        raise SettingsError("setting FLOTILLA_PORTAL_OIDC_ISSUER: expected an https:// address without a query")
    if not client_id:
        raise SettingsError("setting FLOTILLA_PORTAL_OIDC_CLIENT_ID is missing: what the provider knows this portal as")
    if "openid" not in scope.split():
        raise SettingsError("setting FLOTILLA_PORTAL_OIDC_SCOPE: expected words with spaces between, openid among them")
    if not login_claim or not groups_claim:
        raise SettingsError("settings FLOTILLA_PORTAL_OIDC_LOGIN and _GROUPS: expected the names of claims")
    secret = "" if secret_file is None else _secret_in(secret_file)
    return OidcSettings(
        issuer=issuer,
        client_id=client_id,
        client_secret=secret,
        scope=scope,
        login_claim=login_claim,
        groups_claim=groups_claim,
    )


def is_provider_url(url: str, *, local: bool) -> bool:
    """Whether a provider may be asked there: by HTTPS; with `local`, on this machine without."""
    try:
        parts = urlsplit(url)
        is_plain = local and parts.scheme == "http" and parts.hostname in LOOPBACK
        is_whole = bool(parts.hostname) and parts.username is None and len(url) <= URL_LENGTH_MAX and parts.port != 0
        return is_whole and (parts.scheme == "https" or is_plain) and url.isascii() and url.isprintable()
    except ValueError:
        return False


def _secret_in(path: Path) -> str:
    try:
        with path.open("rb") as file:
            secret = file.read(SECRET_BYTES_MAX + 1).decode("ascii").strip()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise SettingsError(f"setting FLOTILLA_PORTAL_OIDC_SECRET_FILE: {reason}") from None
    except UnicodeDecodeError:
        secret = ""
    if not 0 < len(secret) <= SECRET_BYTES_MAX or not secret.isprintable():
        raise SettingsError("setting FLOTILLA_PORTAL_OIDC_SECRET_FILE: expected one line of printable characters")
    return secret
