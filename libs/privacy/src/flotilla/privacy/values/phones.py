"""
Whether a number is a telephone's: the patterns of phonenumbers, each region's as one.

`phonenumbers.is_valid_number` tries a dozen patterns one by one for each region that a number could be of; a page of
numbers took 10 ms.
"""

import re
from collections.abc import Iterable
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
    digits = "".join(filter(str.isdigit, shown))
    if shown.startswith("+"):
        return _is_international(digits)
    if shown.startswith("00"):
        return _is_international(digits[2:])
    return _is_national(digits, _REGIONS, "")


def _is_international(digits: str) -> bool:
    for length in range(1, _COUNTRY_CODE_LENGTH_MAX + 1):
        code = digits[:length]
        regions = _REGIONS_OF_CODE.get(int(code)) if code else None
        if regions is not None:
            return _is_national(digits[length:], regions, code)
    return False


def _is_national(digits: str, regions: Iterable[str], code: str) -> bool:
    """Whether it is a number of one of some regions, as it is, without what stands before it at home, or its code."""
    for region in regions:
        numbers, prefix, own_code = _patterns(region, code)
        if numbers.fullmatch(digits):
            return True
        leading = prefix.match(digits) if prefix is not None else None
        if leading is not None and leading.end() and numbers.fullmatch(digits, leading.end()):
            return True
        if own_code and digits.startswith(own_code) and numbers.fullmatch(digits, len(own_code)):
            return True
    return False


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
