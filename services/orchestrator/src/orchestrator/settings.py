"""What an orchestrator can be told."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from flotilla.chassis.settings import ServiceSettings
from flotilla.contracts.errors import SettingsError
from flotilla.contracts.names import is_scope


class OrchestratorSettings(ServiceSettings, frozen=True, kw_only=True):
    """
    Settings of an orchestrator.

    Attributes:
        scopes: `FLOTILLA_SCOPES`: the tenants it serves, with commas between.
        policy_scopes: `FLOTILLA_POLICY_SCOPES`: the tenants that may change the fleet's policy; empty for none.
        capability_files: `FLOTILLA_CAPABILITY_FILES`: a folder of TOML files that define users' own capabilities.
        policy_file: `FLOTILLA_POLICY_FILE`: a routing policy (TOML), put in force at the start when the file is new.
        stream_replicas: Of every stream and bucket; 1, or 3 on a cluster.
        backlog_max: Waiting tasks of one capability and priority, over which new ones are refused.
    """

    scopes: str = "default"
    policy_scopes: str = "default"
    capability_files: Path | None = None
    policy_file: Path | None = None
    stream_replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    backlog_max: Annotated[int, Meta(ge=1)] = 100_000

    def scope_names(self) -> tuple[str, ...]:
        """
        The scopes, checked; at least one.

        Raises:
            SettingsError: A name that cannot be one.
        """
        names = _scopes("FLOTILLA_SCOPES", self.scopes)
        if not names:
            raise SettingsError("setting FLOTILLA_SCOPES: expected at least one scope")
        return names

    def policy_scope_names(self) -> tuple[str, ...]:
        """
        The scopes that may change the policy, checked.

        Raises:
            SettingsError: A name that cannot be one.
        """
        return _scopes("FLOTILLA_POLICY_SCOPES", self.policy_scopes)


def _scopes(setting: str, text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not all(is_scope(name) for name in names):
        raise SettingsError(f"setting {setting}: expected names of A-Za-z0-9_- with commas between")
    return names
