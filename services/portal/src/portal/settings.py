"""What a portal can be told."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Final

from msgspec import Meta

from flotilla.chassis.settings import Port, ServiceSettings
from flotilla.contracts.errors import SettingsError
from flotilla.contracts.names import DEFAULT_SCOPE, is_scope
from portal.access.oidc_settings import OidcSettings, oidc_settings_of
from portal.access.sessions import LIFETIME_S, LIFETIME_S_MAX, LIFETIME_S_MIN, PROVIDER_LIFETIME_S

PORT_DEFAULT: Final = 8642
VIEWERS_MAX: Final = 256
HOSTS_MAX: Final = 32
LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "::1")


class PortalSettings(ServiceSettings, frozen=True, kw_only=True):
    """
    Settings of a portal. `FLOTILLA_NATS_CREDS` are those of an observer: the portal itself changes nothing.

    Attributes:
        portal_host: `FLOTILLA_PORTAL_HOST`: the address that browsers connect to; loopback unless told.
        portal_port: `FLOTILLA_PORTAL_PORT`; 0 for a free one, which the log event `portal` names.
        portal_fd: `FLOTILLA_PORTAL_FD`: a socket that listens there already, inherited from who started the portal and
            keeps the port.
        portal_names: `FLOTILLA_PORTAL_NAMES`: the host names that browsers may use for it, with commas between; a request
            for any other name is refused. Beside loopback's, which are known.
        portal_people: `FLOTILLA_PORTAL_PEOPLE`: a TOML file of who may sign in; nobody unless told.
        portal_session_key_file: `FLOTILLA_PORTAL_SESSION_KEY_FILE`: a file of at least 32 random bytes that signs sessions.
            Portals that share one take each other's sessions; without, a session ends with its portal.
        portal_session_s: `FLOTILLA_PORTAL_SESSION_S`: how long a session lasts; twelve hours unless told, and one hour of
            those who sign in at a provider.
        portal_proxies: `FLOTILLA_PORTAL_PROXIES`: addresses and networks of the proxies before it, with commas between.
        portal_proxy_header: `FLOTILLA_PORTAL_PROXY_HEADER`: a header in which these name whom they have signed in, and that
            they take from nobody else; who that is, the file of people says (`login`).
        portal_oidc_issuer: `FLOTILLA_PORTAL_OIDC_ISSUER`: an OpenID Connect provider at which people sign in, in place of
            such a proxy; needs the extra `oidc`.
        portal_oidc_client_id: `FLOTILLA_PORTAL_OIDC_CLIENT_ID`: what the provider knows the portal as.
        portal_oidc_secret_file: `FLOTILLA_PORTAL_OIDC_SECRET_FILE`: a file with the secret of that client, where it has one.
        portal_oidc_scope: `FLOTILLA_PORTAL_OIDC_SCOPE`: what is asked for.
        portal_oidc_login: `FLOTILLA_PORTAL_OIDC_LOGIN`: the claim that is somebody's `login`; `email` counts only where the
            provider says that it is verified.
        portal_oidc_groups: `FLOTILLA_PORTAL_OIDC_GROUPS`: the claim that lists somebody's groups.
        portal_https: `FLOTILLA_PORTAL_HTTPS`: browsers reach it by HTTPS (a proxy's); cookies are sent by nothing else.
        scopes: `FLOTILLA_SCOPES`: the tenants whose backlog and dead letters are counted, and whose events of before its
            start are read, with commas between; what happens from then on is shown of every tenant.
        viewers_max: Pages that may be open at a time; more are refused.
    """

    portal_host: str = "127.0.0.1"
    portal_port: Port = PORT_DEFAULT
    portal_fd: Annotated[int, Meta(ge=3)] | None = None
    portal_names: str = ""
    portal_people: Path | None = None
    portal_session_key_file: Path | None = None
    portal_session_s: Annotated[int, Meta(ge=LIFETIME_S_MIN, le=LIFETIME_S_MAX)] | None = None
    portal_proxies: str = ""
    portal_proxy_header: str = ""
    portal_oidc_issuer: str = ""
    portal_oidc_client_id: str = ""
    portal_oidc_secret_file: Path | None = None
    portal_oidc_scope: str = "openid email profile"
    portal_oidc_login: str = "email"
    portal_oidc_groups: str = "groups"
    portal_https: bool = False
    scopes: str = DEFAULT_SCOPE
    viewers_max: Annotated[int, Meta(ge=1, le=4096)] = VIEWERS_MAX

    @property
    def is_loopback(self) -> bool:
        """Whether nobody but users of this machine can connect."""
        try:
            return self.portal_host == "localhost" or ip_address(self.portal_host).is_loopback
        except ValueError:
            return False

    @property
    def session_lifetime_s(self) -> int:
        """How long a session lasts."""
        if self.portal_session_s is not None:
            return self.portal_session_s
        return PROVIDER_LIFETIME_S if self.portal_oidc_issuer else LIFETIME_S

    def check(self) -> None:
        """
        Refuse what would be open to everybody.

        Raises:
            SettingsError: It listens beyond loopback and nobody can sign in, or nobody has said under which name.
        """
        if self.is_loopback:
            return
        if self.portal_people is None:
            raise SettingsError(
                f"setting FLOTILLA_PORTAL_PEOPLE is missing: {self.portal_host} can be reached from other machines, so a "
                "file must say who may sign in"
            )
        if not self.names():
            raise SettingsError(
                "setting FLOTILLA_PORTAL_NAMES is missing: expected the host names that browsers use, with commas between"
            )

    def provider(self) -> OidcSettings | None:
        """
        Where people sign in; None where they do not do so at a provider.

        Raises:
            SettingsError: Something of it is missing or wrong, or a proxy says who they are as well.
        """
        provider = oidc_settings_of(
            issuer=self.portal_oidc_issuer,
            client_id=self.portal_oidc_client_id,
            secret_file=self.portal_oidc_secret_file,
            scope=self.portal_oidc_scope,
            login_claim=self.portal_oidc_login,
            groups_claim=self.portal_oidc_groups,
        )
        if provider is not None and self.portal_proxy_header:
            raise SettingsError(
                "settings FLOTILLA_PORTAL_OIDC_ISSUER and FLOTILLA_PORTAL_PROXY_HEADER: one of them says who somebody is"
            )
        return provider

    def names(self) -> frozenset[str]:
        """
        The host names that were given, in lower case.

        Raises:
            SettingsError: Too many, or one that is none.
        """
        names = frozenset(name.strip().lower() for name in self.portal_names.split(",") if name.strip())
        if len(names) > HOSTS_MAX or any(not name.isascii() or set(name) & set("/@ *") for name in names):
            raise SettingsError(f"setting FLOTILLA_PORTAL_NAMES: expected at most {HOSTS_MAX} host names, no wildcards")
        return names

    def scope_names(self) -> tuple[str, ...]:
        """
        The scopes, checked; at least one.

        Raises:
            SettingsError: A name that cannot be one.
        """
        names = tuple(dict.fromkeys(name.strip() for name in self.scopes.split(",") if name.strip()))
        if not names or not all(is_scope(name) for name in names):
            raise SettingsError("setting FLOTILLA_SCOPES: expected names of A-Za-z0-9_- with commas between")
        return names
