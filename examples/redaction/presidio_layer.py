"""
Presidio's recognizers as a layer of redaction, beside the built-in ones.

    pip install presidio-analyzer        # beside the worker; no spaCy model is needed
    PYTHONPATH=examples/redaction FLOTILLA_REDACTION_LAYERS=presidio_layer:find

Its patterns and checksums work with a blank pipeline; names are left to the other layers. When it is used for the first
time it asks for the newest list of public suffixes, and takes the one that it brought where it may not ask.
"""

from typing import Any, Final

from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import SpacyNlpEngine

LANGUAGE: Final = "en"
SCORE_MIN: Final = 0.4
TYPES: Final = {
    "CREDIT_CARD": "CARD",
    "DATE_TIME": "DATE",
    "EMAIL_ADDRESS": "EMAIL",
    "IBAN_CODE": "IBAN",
    "IP_ADDRESS": "IP",
    "MAC_ADDRESS": "MAC",
    "MEDICAL_LICENSE": "ID",
    "PHONE_NUMBER": "PHONE",
    "URL": "URL",
}
"""What Presidio calls them, and what placeholders do. Everything else it knows is a national number."""


class _Blank(SpacyNlpEngine):
    """A tokenizer without a model."""

    def load(self) -> None:
        import spacy  # noqa: PLC0415  (comes with Presidio)

        self.nlp = {LANGUAGE: spacy.blank(LANGUAGE)}


def _analyzer() -> Any:
    pipeline = _Blank(models=[{"lang_code": LANGUAGE, "model_name": "blank"}])
    pipeline.load()
    return AnalyzerEngine(nlp_engine=pipeline, supported_languages=[LANGUAGE])


_ANALYZER: Final = _analyzer()


def find(text: str) -> list[tuple[int, int, str]]:
    """Start, end and type of what Presidio finds."""
    found = _ANALYZER.analyze(text=text, language=LANGUAGE, score_threshold=SCORE_MIN)
    return [(each.start, each.end, TYPES.get(each.entity_type, "ID")) for each in found]
