"""
Whether two answers say the same: each becomes a key, and equal keys agree.

What is compared, a capability declares (`Comparison`): a classifier its label, `extract-entities` the types and texts that
it found, a capability of one's own the fields of `agree_on`, any other all of its output but `confidence`. Texts are
compared in Unicode's NFC, without regard to case and to how white space is laid out; code is compared as it stands.
"""

import unicodedata
from collections.abc import Callable
from hashlib import blake2b
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from flotilla.contracts.decoding import UNDECODABLE

COMPARED_BYTES_MAX: Final = 1024 * 1024
"""Longer outputs are compared byte by byte: normalising takes some 20 ms for each MB."""
AGREE_ON_MAX: Final = 64
_KEY_BYTES: Final = 16
_CONFIDENCE: Final = "confidence"

_decode: Final = msgspec.json.Decoder().decode
_encode: Final = msgspec.json.Encoder(order="deterministic").encode


class Comparison(Struct, frozen=True, kw_only=True):
    """
    What of an output is compared.

    Attributes:
        fields: Of its top level; none stands for all but `confidence`.
        as_set: The order of the items of these fields means nothing, nor does how often one occurs.
        item_fields: Of the objects in such a field; none stands for all.
        exact: Texts are compared as they stand.
    """

    fields: tuple[str, ...] = ()
    as_set: bool = False
    item_fields: tuple[str, ...] = ()
    exact: bool = False


WHOLE: Final = Comparison()

BUILT_IN_COMPARISONS: Final = {
    "classify": Comparison(fields=("label", "labels"), as_set=True),
    "extract-entities": Comparison(fields=("entities",), as_set=True, item_fields=("type", "text")),
    "translate": Comparison(fields=("text",)),
    "reason": Comparison(fields=("answer",)),
    "generate-code": Comparison(fields=("code",), exact=True),
}
"""The others are compared as a whole."""


def agreement_key(output: bytes | msgspec.Raw, comparison: Comparison = WHOLE) -> bytes:
    """
    What stands for an output when it is compared: 16 bytes, equal for outputs that say the same.

    An output that is no JSON, or longer than `COMPARED_BYTES_MAX`, stands for its bytes.
    """
    raw = bytes(output)
    if len(raw) <= COMPARED_BYTES_MAX:
        try:
            data = _decode(raw)
        except UNDECODABLE:
            return _digest(raw)
        return _digest(_encode(_compared(data, comparison)))
    return _digest(raw)


def _digest(raw: bytes) -> bytes:
    return blake2b(raw, digest_size=_KEY_BYTES).digest()


def _compared(data: Any, comparison: Comparison) -> Any:
    normal = _as_it_stands if comparison.exact else _normal
    if not isinstance(data, dict):
        return normal(data)
    given = cast("dict[str, Any]", data)
    if not comparison.fields:
        return normal({name: value for name, value in given.items() if name != _CONFIDENCE})
    found = {name: given[name] for name in comparison.fields if given.get(name) is not None}
    if comparison.as_set:
        return {name: _as_set(value, comparison.item_fields, normal) for name, value in found.items()}
    return normal(found)


def _as_set(value: Any, item_fields: tuple[str, ...], normal: Callable[[Any], Any]) -> Any:
    if not isinstance(value, list):
        return normal(value)
    items = cast("list[Any]", value)
    return sorted({_encode(normal(_narrowed(item, item_fields))).decode() for item in items})


def _narrowed(item: Any, fields: tuple[str, ...]) -> Any:
    if not fields or not isinstance(item, dict):
        return item
    given = cast("dict[str, Any]", item)
    return {name: given.get(name) for name in fields}


def _as_it_stands(data: Any) -> Any:
    return data


def _normal(data: Any) -> Any:
    """The same data with texts normalised; JSON that was decoded is not nested deeper than the decoder goes."""
    if isinstance(data, str):
        return " ".join(unicodedata.normalize("NFC", data).casefold().split())
    if isinstance(data, float) and data.is_integer():
        return int(data)
    if isinstance(data, list):
        return [_normal(item) for item in cast("list[Any]", data)]
    if isinstance(data, dict):
        return {name: _normal(value) for name, value in cast("dict[str, Any]", data).items()}
    return data
