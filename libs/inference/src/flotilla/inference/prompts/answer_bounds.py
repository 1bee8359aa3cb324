"""
How many tokens an answer may have, by capability: several times what a good one takes.

Nobody reads an answer beyond these; without them a small model that repeats itself holds a slot for minutes. Tokens are
estimated from above: of most languages one is four characters, of few less than one.
"""

from typing import Final

from flotilla.capabilities.inputs import label_name
from flotilla.contracts.capabilities import ClassifyInput, ExtractEntitiesInput, SummarizeInput, TranslateInput

ANSWER_TOKENS_MAX: Final = 16_384
"""Of any answer but a chat whose caller sets the bound: what many models can write at the most."""
CHOICE_TOKENS: Final = 1_024
"""A label with a sentence why; room for a model that explains itself first."""
ENTITIES_TOKENS: Final = 1_024
SUMMARY_TOKENS: Final = 512
SUMMARY_WORDS: Final = 200
"""Of a summary whose caller gives no bound."""
WORD_TOKENS: Final = 5
REPORT_TOKENS: Final = 8_192
TRANSLATION_TOKENS: Final = 512
CODE_TOKENS: Final = 8_192
REASON_TOKENS: Final = 4_096
CHAT_TOKENS: Final = 8_192
OWN_TOKENS: Final = 4_096
"""Of a user's capability whose file gives no bound."""


def of_classification(given: ClassifyInput) -> int:
    """With `multi` all labels may be named."""
    named = sum(len(label_name(label)) for label in given.labels) if given.multi else 0
    return min(CHOICE_TOKENS + named, ANSWER_TOKENS_MAX)


def of_entities(given: ExtractEntitiesInput) -> int:
    """As many tokens as the document has characters, in which every third word may be an entity."""
    return min(ENTITIES_TOKENS + len(given.document), ANSWER_TOKENS_MAX)


def of_summary(given: SummarizeInput) -> int:
    """By the words that it was asked to keep to."""
    return min(SUMMARY_TOKENS + WORD_TOKENS * (given.max_words or SUMMARY_WORDS), ANSWER_TOKENS_MAX)


def of_translation(given: TranslateInput) -> int:
    """Two tokens a character, for languages that a model's vocabulary hardly has."""
    return min(TRANSLATION_TOKENS + 2 * len(given.text), ANSWER_TOKENS_MAX)
