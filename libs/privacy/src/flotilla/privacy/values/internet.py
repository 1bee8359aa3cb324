"""E-mail addresses, URLs, domains, IP and MAC addresses."""

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Final

from flotilla.privacy.values.domains import TOP_LEVEL
from flotilla.privacy.values.outline import Outline
from flotilla.privacy.values.regions import Region, begins, matches

_EMAIL: Final = re.compile(
    r"(?<![\w.+%'-])(?:[\w!#$%&'*+/=?^`{|}~-]{1,64}(?:\.[\w!#$%&'*+/=?^`{|}~-]{1,64}){0,8}|\"[^\"\n]{1,64}\")"
    r"@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}\b"
)
_LOOSE_EMAIL: Final = re.compile(r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}")
_URL: Final = re.compile(
    r"\b(?:(?:https?|ftps?|sftp|wss?|ldaps?|s3|git|ssh)://|www\d?\.)[^\s<>\"'`\]\[{}|\\^]{2,2000}", re.IGNORECASE
)
_OTHER_SCHEME: Final = re.compile(r"\b(?:mailto|tel|sip|skype|sms|whatsapp):[^\s<>\"']{3,200}", re.IGNORECASE)
_PATH: Final = re.compile(r"(?::\d{2,5})?/[\w~@%+.,:;=&?#/!$-]{1,1000}")
_URL_END: Final = ".,;:!?)*_~"
_DOMAIN: Final = re.compile(
    begins(r"^\W_", r"\w@.-")
    + r"(?:(?:[\w-]{0,61}[^\W_])?\.)(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){0,5}([a-z]{2,18}|[A-Z]{2,6})(?![\w@-])(?!\.\w)"
)
_IPV4: Final = re.compile(begins("0-9", r"\w.") + r"\d{0,2}\.(?:\d{1,3}\.){2}\d{1,3}(?:/\d{1,2})?(?![\w]|\.\d)")
_IPV6: Final = re.compile(
    begins("0-9A-Fa-f:", r"\w:.")
    + r"(?:(?<=:)[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){1,6}|(?<=[0-9A-Fa-f])[0-9A-Fa-f]{0,3}(?::[0-9A-Fa-f]{0,4}){2,7})"
    r"(?:\.\d{1,3}){0,3}(?:%\w{1,16})?(?:/\d{1,3})?(?![\w:])"
)
_MAC: Final = re.compile(
    begins("0-9A-Fa-f", r"\w:-") + r"[0-9A-Fa-f](?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}(?![\w:-])"
)
_MAC_DOTTED: Final = re.compile(
    begins("0-9A-Fa-f", r"\w.") + r"[0-9A-Fa-f]{3}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}(?![\w.])"
)
_OCTET_MAX: Final = 255
_IPV6_COLONS: Final = 7
_IPV6_SIGNS_MIN: Final = 3
_MAC_HINT: Final = re.compile(r":[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}:|-[0-9A-Fa-f]{2}-[0-9A-Fa-f]{2}-")
_MAC_DOTTED_HINT: Final = re.compile(r"\.[0-9A-Fa-f]{4}\.")
# Read backwards from the sign.
_LOCAL_BACKWARDS: Final = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]*")
_NAMES_BACKWARDS: Final = re.compile(r"[\w.-]*")
_LOCAL_LENGTH_MAX: Final = 600
_WORD_LENGTH_MAX: Final = 640
_SPACE: Final = re.compile(r"[\s,;:<>()\"']")
_LABEL_LENGTH_MAX: Final = 64
_SCHEMES: Final = ("mailto:", "tel:", "sip:", "skype:", "sms:", "whatsapp:")
_AT_SIGN: Final = re.compile("@")
_STOP: Final = re.compile(r"\.[A-Za-z]{2}")


def find(outline: Outline) -> Iterator[tuple[int, int, str]]:
    """E-mail addresses, URLs, domains, IP and MAC addresses of a text."""
    text = outline.text
    signs = _words_around(text, _AT_SIGN, _local_part)
    for pattern in (_EMAIL, _LOOSE_EMAIL):
        for match in matches(pattern, text, signs):
            yield *match.span(), "EMAIL"
    yield from _urls(outline)
    for match in matches(_DOMAIN, text, _words_around(text, _STOP, _name_part)):
        if match[1].lower() in TOP_LEVEL:
            path = _PATH.match(text, match.end())
            if path is None:
                yield *match.span(), "DOMAIN"
            else:
                yield match.start(), match.end() + len(path[0].rstrip(_URL_END)), "URL"
    yield from _addresses(outline)


def _words_around(text: str, sign: re.Pattern[str], begin: Callable[[str, int, int], int]) -> list[Region]:
    """The merged words that have a sign in them, each from where `begin` says up to what ends it, not far away."""
    regions: list[Region] = []
    end = 0
    for match in sign.finditer(text):
        if match.start() < end:
            continue
        start = begin(text, match.start(), end)
        last = min(len(text), match.end() + _WORD_LENGTH_MAX)
        space = _SPACE.search(text, match.end(), last)
        end = last if space is None else space.start()
        regions.append((start, end))
    return regions


def _local_part(text: str, at: int, first: int) -> int:
    """Where what stands before an @ begins: at the last sign that is in no address, or where quotes may begin."""
    first = max(first, at - _LOCAL_LENGTH_MAX)
    if text[at - 1 : at] == '"':
        return first
    return at - _length_of(_LOCAL_BACKWARDS, text[first:at][::-1])


def _name_part(text: str, stop: int, first: int) -> int:
    """Where the names before a stop begin."""
    return stop - _length_of(_NAMES_BACKWARDS, text[max(first, stop - _LABEL_LENGTH_MAX) : stop][::-1])


def _length_of(pattern: re.Pattern[str], backwards: str) -> int:
    match = pattern.match(backwards)
    return 0 if match is None else match.end()


def _urls(outline: Outline) -> Iterator[tuple[int, int, str]]:
    text = outline.text
    patterns: list[re.Pattern[str]] = []
    if "://" in text or "www" in outline.lower:
        patterns.append(_URL)
    if outline.has_word(*_SCHEMES):
        patterns.append(_OTHER_SCHEME)
    for pattern in patterns:
        for match in pattern.finditer(text):
            yield match.start(), match.start() + len(match[0].rstrip(_URL_END)), "URL"


def _addresses(outline: Outline) -> Iterator[tuple[int, int, str]]:
    text, digits = outline.text, outline.digits
    if "::" in text or text.count(":") >= _IPV6_COLONS:
        for match in _IPV6.finditer(text):
            if _is_ipv6(match[0]):
                yield *match.span(), "IP"
    if _MAC_HINT.search(text):
        for match in matches(_MAC, text, digits):
            yield *match.span(), "MAC"
    if _MAC_DOTTED_HINT.search(text):
        for match in matches(_MAC_DOTTED, text, digits):
            yield *match.span(), "MAC"
    for match in outline.at_numbers(_IPV4, 1, 3) if outline.has_shape("9.9") else ():
        # One octet too large is a typing error of an address, not another kind of number.
        yield *match.span(), "IP" if _is_ipv4(match[0]) else "NUMBER"


def _is_ipv4(text: str) -> bool:
    return all(int(octet) <= _OCTET_MAX for octet in text.partition("/")[0].split("."))


def _is_ipv6(text: str) -> bool:
    # "::" alone, and times such as 12:30:45, are none.
    if sum(sign.isalnum() for sign in text) < _IPV6_SIGNS_MIN or ("::" not in text and text.count(":") < _IPV6_COLONS):
        return False
    try:
        ipaddress.IPv6Address(text.partition("/")[0].partition("%")[0])
    except ValueError:
        return False
    return True
