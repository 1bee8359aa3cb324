"""
How work fails.

    flotilla.contracts.errors.FlotillaError
     ├─ AttemptError            one attempt failed, for one of the wire's failure kinds
     └─ SettingsError
         └─ CatalogueError      a user's capability file is not valid; names the file and the key
"""

from flotilla.contracts.attempts import Usage
from flotilla.contracts.errors import FlotillaError, SettingsError
from flotilla.contracts.failures import FailureKind


class AttemptError(FlotillaError):
    """
    One attempt failed.

    Attributes:
        message: Safe for the caller: never document text, prompts or keys.
        retry_after_s: As the provider asked, in seconds.
        usage: Tokens that were spent all the same.
        said: The provider's own words, which may quote the prompt: only `provider_sentences` may show any of them.
    """

    def __init__(
        self,
        kind: FailureKind,
        message: str,
        *,
        retry_after_s: float | None = None,
        usage: Usage | None = None,
        said: str = "",
    ) -> None:
        super().__init__(f"{kind.value}: {message}")
        self.kind = kind
        self.message = message
        self.retry_after_s = retry_after_s
        self.usage = usage or Usage()
        self.said = said

    def with_usage(self, usage: Usage) -> "AttemptError":
        """The same failure, when it has cost `usage` in all."""
        return AttemptError(self.kind, self.message, retry_after_s=self.retry_after_s, usage=usage, said=self.said)


class CatalogueError(SettingsError):
    """A user's capability file is not valid; the text names the file, the key, and what was expected."""
