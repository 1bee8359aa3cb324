"""
The catalogue: every capability that a fleet knows, built-in and users' own.

Orchestrators load it to refuse bad input at intake, workers to validate what comes out; both load the same files. It
imports no SDK and no engine.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from flotilla.capabilities.built_in import TYPES, BuiltInCapability
from flotilla.capabilities.capability import Capability
from flotilla.capabilities.capability_files import is_pipeline, read_capability
from flotilla.capabilities.errors import CatalogueError
from flotilla.capabilities.user_defined import open_capability
from flotilla.contracts.names import is_name
from flotilla.contracts.presence import CAPABILITIES_MAX

FILE_SUFFIX: Final = ".toml"


class Catalogue:
    """Capabilities by name; does not change once it is made."""

    __slots__ = ("_capabilities", "get")

    def __init__(self, capabilities: Iterable[Capability]) -> None:
        self._capabilities = {capability.name: capability for capability in capabilities}
        if len(self._capabilities) > CAPABILITIES_MAX:
            raise CatalogueError(f"{len(self._capabilities)} capabilities, expected at most {CAPABILITIES_MAX}")
        self.get: Callable[[str], Capability | None] = self._capabilities.get
        """`get(name) -> Capability | None`."""

    @classmethod
    def load(cls, source: Path | Sequence[Path] | None = None) -> "Catalogue":
        """
        The built-in capabilities, and those of the TOML files in a folder (in its subfolders not) or of a list.

        Files of pipelines are passed over.

        Raises:
            CatalogueError: A file is not valid, two have one name, or there are more than a replica may announce.
        """
        capabilities: list[Capability] = [BuiltInCapability(name) for name in TYPES]
        origins: dict[str, Path] = {}
        for file in capability_files(source):
            if is_pipeline(file):
                continue
            capability = read_capability(file)
            if capability.name in origins:
                raise CatalogueError(f"{file}: name: {capability.name} is already in {origins[capability.name]}")
            origins[capability.name] = file
            capabilities.append(capability)
        return cls(capabilities)

    def including(self, names: Iterable[str]) -> "Catalogue":
        """
        Make a catalogue that has an open capability (any JSON object in and out) for each name that this one lacks.

        Raises:
            CatalogueError: A name cannot stand in a subject.
        """
        missing = [name for name in dict.fromkeys(names) if name not in self._capabilities]
        for name in missing:
            if not is_name(name):
                raise CatalogueError(f"the capability name {name!r} is not 1 to 63 of a-z, 0-9 and hyphens")
        return Catalogue([*self._capabilities.values(), *(open_capability(name) for name in missing)])

    def with_capabilities(self, capabilities: Iterable[Capability]) -> "Catalogue":
        """
        Make a catalogue that has these too.

        Raises:
            CatalogueError: There are more than a replica may announce.
        """
        return Catalogue([*self._capabilities.values(), *capabilities])

    def names(self) -> frozenset[str]:
        """The names of all capabilities that it has."""
        return frozenset(self._capabilities)


def capability_files(source: Path | Sequence[Path] | None) -> list[Path]:
    """
    The files of a folder's capabilities and pipelines, in order; of a list, the list; a single file counts as a list.

    Raises:
        CatalogueError: There is no such folder or file.
    """
    if source is None:
        return []
    if not isinstance(source, Path):
        return list(source)
    if source.is_dir():
        return sorted(file for file in source.iterdir() if file.suffix == FILE_SUFFIX and file.is_file())
    if source.is_file():
        return [source]
    raise CatalogueError(f"{source}: expected a folder of TOML files, or one file")
