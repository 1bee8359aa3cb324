"""
Whether a number is a telephone's: the patterns of phonenumbers, each region's as one.

`phonenumbers.is_valid_number` tries a dozen patterns one by one for each region that a number could be of; a page of
numbers took 10 ms.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, cast

import phonenumbers

_REGIONS: Final = ("US", "GB", "DE", "FR", "ES")
_COUNTRY_CODE_LENGTH_MAX: Final = 3
_KINDS: Final = (
    "fixed_line",
    "mobile",
    "toll_free",
    "premium_rate",
    "shared_cost",
    "personal_number",
    "voip",
    "pager",
    "uan",
    "voicemail",
)
_REGIONS_OF_CODE: Final = phonenumbers.COUNTRY_CODE_TO_REGION_CODE
_WORLD: Final = "001"


def is_phone(shown: str) -> bool:
    """Whether digits with what stands between them are a number that is given out, of any country if it says which."""
    digits = "".join(sign for sign in shown if sign.isdigit())
    if shown.startswith("+"):
        return _is_international(digits)
    if shown.startswith("00"):
        return _is_international(digits[2:])
    return any(_is_national(digits, region, "") for region in _REGIONS)


def _is_international(digits: str) -> bool:
    for length in range(1, _COUNTRY_CODE_LENGTH_MAX + 1):
        code = digits[:length]
        regions = _REGIONS_OF_CODE.get(int(code)) if code else None
        if regions is not None:
            return any(_is_national(digits[length:], region, code) for region in regions)
    return False


def _is_national(digits: str, region: str, code: str) -> bool:
    numbers, prefix, own_code = _patterns(region, code)
    return any(numbers.fullmatch(rest) for rest in _without_prefix(digits, prefix, own_code))


def _without_prefix(digits: str, prefix: re.Pattern[str] | None, code: str) -> Iterator[str]:
    yield digits
    leading = prefix.match(digits) if prefix is not None else None
    if leading is not None and leading.end():
        yield digits[leading.end() :]
    if code and digits.startswith(code):
        yield digits[len(code) :]


@cache
def _patterns(region: str, code: str) -> tuple[re.Pattern[str], re.Pattern[str] | None, str]:
    """The numbers of a region, what may stand before them at home, and its country code where none was told."""
    of = cast("Any", phonenumbers.PhoneMetadata)
    metadata = of.metadata_for_nongeo_region(int(code)) if region == _WORLD else of.metadata_for_region(region)
    kinds = (getattr(metadata, kind, None) for kind in _KINDS)
    forms = [kind.national_number_pattern for kind in kinds if kind is not None and kind.national_number_pattern]
    every = metadata.general_desc.national_number_pattern
    prefix = metadata.national_prefix_for_parsing
    return (
        re.compile(f"(?={every}\\Z)(?:{'|'.join(forms)})"),
        re.compile(prefix) if prefix else None,
        "" if code else str(metadata.country_code),
    )
