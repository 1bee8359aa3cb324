"""
Redaction that can be undone. Pure: no network, no NATS, no asyncio.

`redact` replaces personal data by placeholders and gives the entries that stand for them; `restore_text`,
`restore_json` and `StreamRestorer` put the values back.
"""

from flotilla.privacy.entries import Entries, Entry
from flotilla.privacy.errors import PrivacyError
from flotilla.privacy.languages import language_of
from flotilla.privacy.layers import Function, Guarded, Layer, Policy
from flotilla.privacy.listed import Listed
from flotilla.privacy.own_types import OwnTypes, own_types
from flotilla.privacy.plugins import plugin
from flotilla.privacy.redaction import Redacted, redact, redact_number
from flotilla.privacy.restore import Account, StreamRestorer, restore_json, restore_text
from flotilla.privacy.spans import Span
from flotilla.privacy.structured import Structured

__all__ = [
    "Account",
    "Entries",
    "Entry",
    "Function",
    "Guarded",
    "Layer",
    "Listed",
    "OwnTypes",
    "Policy",
    "PrivacyError",
    "Redacted",
    "Span",
    "StreamRestorer",
    "Structured",
    "language_of",
    "own_types",
    "plugin",
    "redact",
    "redact_number",
    "restore_json",
    "restore_text",
]
