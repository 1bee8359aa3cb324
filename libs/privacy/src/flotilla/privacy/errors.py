"""
Why a text was not redacted or restored. No message quotes the text.

    PrivacyError
     ├─ UnsupportedTextError   the text has what cannot be redacted safely: NUL, lone surrogates, too long, too deep
     ├─ LanguageError          a language that the lists do not serve, and the caller did not accept that
     ├─ LayerError             a layer of detection failed; carries the layer's name
     │   ├─ LayerFailedError   it raised, or gave what are no spans of the text
     │   ├─ LayerTimeoutError  it did not answer before its deadline
     │   └─ LayerMissingError  it is configured, and cannot be loaded
     ├─ OwnTypesError          a file of one's own types is not one; says where
     └─ EntriesError           the vault's entries are not well-formed, or full
"""


class PrivacyError(Exception):
    """Anything that redaction or restore raises on purpose. Never quotes the text."""


class UnsupportedTextError(PrivacyError):
    """The text cannot be redacted safely."""


class LanguageError(PrivacyError):
    """
    The text is in a language that the name lists do not serve.

    Attributes:
        language: What the caller told or the detector found; "unknown" where it could not tell.
    """

    def __init__(self, language: str) -> None:
        super().__init__(
            f"names cannot be found in language {language!r}: the lists serve en, de, fr and es; "
            "the language `any` (flotilla redact --language any) accepts that what only those lists find may be missed"
        )
        self.language = language


class LayerError(PrivacyError):
    """
    A layer of detection failed, so nothing was redacted.

    Attributes:
        layer: The layer's name.
        problem: What is wrong with it, without anything of the text.
    """

    def __init__(self, layer: str, problem: str) -> None:
        super().__init__(f"detection layer {layer!r} {problem}; nothing was redacted")
        self.layer = layer
        self.problem = problem

    def bare(self) -> "LayerError":
        """The same error anew: no cause, context or traceback of it quotes the text."""
        return type(self)(self.layer, self.problem)


class LayerFailedError(LayerError):
    """The layer raised, or gave what are no spans of the text."""


class LayerTimeoutError(LayerError):
    """The layer did not answer before its deadline."""


class LayerMissingError(LayerError):
    """The layer is configured, and cannot be loaded."""


class OwnTypesError(PrivacyError):
    """
    A file of one's own types is not one.

    Attributes:
        path: The key that the fault stands at, as "types.CASE.pattern".
    """

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path


class EntriesError(PrivacyError):
    """The vault's entries are not well-formed, or full."""
