"""What finds personal data in a worker without its model: the built-in layers, and those that its settings add."""

from pathlib import Path
from typing import Final

from msgspec import Struct

from flotilla.contracts.errors import SettingsError
from flotilla.privacy import Guarded, Layer, Listed, OwnTypes, Structured, own_types, plugin
from flotilla.privacy.errors import LayerMissingError, OwnTypesError
from flotilla.privacy.own_types import FILE_LENGTH_MAX
from flotilla.privacy.spacy_layer import SpacyLayer

TYPES_SETTING: Final = "FLOTILLA_REDACTION_TYPES"
LAYERS_SETTING: Final = "FLOTILLA_REDACTION_LAYERS"
SPACY_SETTING: Final = "FLOTILLA_REDACTION_SPACY"
PLUGINS_MAX: Final = 8


class Detection(Struct, frozen=True, kw_only=True):
    """
    What is added to the built-in layers.

    Attributes:
        types: A TOML file of types of one's own.
        plugins: Functions from a text to spans, as `package.module:function`.
        spacy: Name or folder of a spaCy pipeline.
        timeout_s: Of one text, for each plug-in and the pipeline.
    """

    types: Path | None = None
    plugins: tuple[str, ...] = ()
    spacy: str | None = None
    timeout_s: float = 30.0

    def layers(self) -> tuple[Layer, ...]:
        """
        All layers, ready to work; reads the lists and imports the plug-ins.

        Raises:
            SettingsError: One that is configured is not there; says which setting. Without it less would be found.
        """
        found: list[Layer] = [Structured(), Listed()]
        if self.types is not None:
            found.append(_types_of(self.types))
        if len(self.plugins) > PLUGINS_MAX or len(set(self.plugins)) < len(self.plugins):
            raise SettingsError(f"setting {LAYERS_SETTING}: expected at most {PLUGINS_MAX} functions, each once")
        for reference in self.plugins:
            try:
                found.append(plugin(reference, timeout_s=self.timeout_s))
            except LayerMissingError as error:
                raise SettingsError(f"setting {LAYERS_SETTING}: {error.layer} {error.problem}") from None
        if self.spacy is not None:
            try:
                found.append(Guarded(SpacyLayer(self.spacy), timeout_s=self.timeout_s))
            except LayerMissingError as error:
                raise SettingsError(f"setting {SPACY_SETTING}: {error.problem}") from None
        return tuple(found)


def _types_of(file: Path) -> OwnTypes:
    where = f"setting {TYPES_SETTING}: {file}"
    try:
        with file.open("rb") as opened:
            content = opened.read(FILE_LENGTH_MAX * 4 + 1)  # one character too many at the least, where it is too long
        return own_types(content.decode())
    except OSError as error:
        raise SettingsError(f"{where}: {error.strerror or type(error).__name__}") from error
    except UnicodeDecodeError:
        raise SettingsError(f"{where}: expected text in UTF-8") from None
    except OwnTypesError as error:
        raise SettingsError(f"{where}: {error}") from None
