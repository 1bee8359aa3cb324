"""What a local worker can be told."""

from pathlib import Path
from typing import Annotated

from msgspec import Meta

from flotilla.inference.provider_settings import settings_of
from flotilla.inference.redaction.vault_keys import VaultKeys, vault_keys


class LocalSettings(settings_of("local"), frozen=True, kw_only=True):
    """
    Settings of a local worker: where each provider's server is (`OLLAMA_HOST`, `OPENAI_BASE_URL`), its key if it wants one.

    Attributes:
        context_tokens: `FLOTILLA_CONTEXT_TOKENS`: the context with which Ollama loads models.
        vault_key: `FLOTILLA_VAULT_KEY`: one or two keys of 32 bytes in base64, with a comma between; the first encrypts.
            With a key the worker redacts and restores, beside what its provider serves.
        vault_key_file: `FLOTILLA_VAULT_KEY_FILE`: a file with the same, in its place.
        stream_replicas: `FLOTILLA_STREAM_REPLICAS`: copies of the vaults, as the orchestrators' of every other stream.
        redaction_types: `FLOTILLA_REDACTION_TYPES`: a TOML file of types of one's own.
        redaction_layers: `FLOTILLA_REDACTION_LAYERS`: functions from a text to spans, as `package.module:function`, with
            commas between.
        redaction_spacy: `FLOTILLA_REDACTION_SPACY`: name or folder of a spaCy pipeline.
        redaction_layer_timeout_s: `FLOTILLA_REDACTION_LAYER_TIMEOUT_S`: of one text, for each of these functions and the
            pipeline.
    """

    context_tokens: int | None = None
    vault_key: str | None = None
    vault_key_file: Path | None = None
    stream_replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    redaction_types: Path | None = None
    redaction_layers: str = ""
    redaction_spacy: str | None = None
    redaction_layer_timeout_s: Annotated[float, Meta(gt=0.0, le=3600.0)] = 30.0

    @property
    def has_vault_key(self) -> bool:
        """Whether the worker is to redact."""
        return self.vault_key is not None or self.vault_key_file is not None

    @property
    def adds_to_redaction(self) -> bool:
        """Whether something is to be found beside what is built in."""
        return bool(self.redaction_types or self.redaction_layers or self.redaction_spacy)

    def vault_keys(self) -> VaultKeys:
        """
        The keys of the vaults.

        Raises:
            SettingsError: There are none, or they are no keys.
        """
        return vault_keys(self.vault_key, self.vault_key_file)
