"""The types of personal data, in the order of their strength: where spans overlap, the first one names the value."""

import re
from typing import Final

TYPE_LENGTH_MAX: Final = 16

# One word of letters each: a placeholder is TYPE, number, tag, and no type is confused with a separator.
TYPES: Final = (
    "SECRET",  # API keys, tokens, passwords, private keys
    "EMAIL",
    "URL",
    "IBAN",
    "CARD",  # credit and debit cards
    "ID",  # national ids, social security, passports, licences
    "TAX",  # VAT and tax numbers
    "ACCOUNT",  # bank accounts, customer and contract numbers
    "RECORD",  # medical record, case and file numbers
    "IP",
    "MAC",
    "DOMAIN",
    "PHONE",
    "PLATE",  # vehicle plates and identification numbers
    "ADDRESS",
    "DATE",  # dates and times
    "AGE",
    "ORG",
    "PERSON",
    "PLACE",
    "GROUP",  # nationality, religion, political group
    "TITLE",  # Mr., Dr., Frau
    "NUMBER",  # long numbers of no known kind, and those whose checksum is wrong
    "LITERAL",  # text of the input that looks like a placeholder
)

STRENGTH: Final = {name: len(TYPES) - rank for rank, name in enumerate(TYPES)}
# A type of one's own is stronger than any built-in one: whoever wrote it knows the documents.
OWN_STRENGTH: Final = len(TYPES) + 1

_TYPE: Final = re.compile(rf"[A-Z]{{2,{TYPE_LENGTH_MAX}}}")


def is_type_name(name: str) -> bool:
    """Whether a name can stand in a placeholder: 2 to 16 capital letters."""
    return _TYPE.fullmatch(name) is not None


def strength(name: str) -> int:
    """What decides between the types of overlapping spans; higher wins."""
    return STRENGTH.get(name, OWN_STRENGTH)
