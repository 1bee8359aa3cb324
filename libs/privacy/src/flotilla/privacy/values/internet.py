"""E-mail addresses, URLs, domains, IP and MAC addresses."""

import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Final

from flotilla.privacy.values.domains import TOP_LEVEL
from flotilla.privacy.values.regions import Region, around, matches

_EMAIL: Final = re.compile(
    r"(?<![\w.+%'-])(?:[\w!#$%&'*+/=?^`{|}~-]{1,64}(?:\.[\w!#$%&'*+/=?^`{|}~-]{1,64}){0,8}|\"[^\"\n]{1,64}\")"
    r"@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}\b"
)
_LOOSE_EMAIL: Final = re.compile(r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){0,8}")
_URL: Final = re.compile(
    r"\b(?:(?:https?|ftps?|sftp|wss?|ldaps?|s3|git|ssh)://|www\d?\.)[^\s<>\"'`\]\[{}|\\^]{2,2000}", re.IGNORECASE
)
_OTHER_SCHEME: Final = re.compile(r"\b(?:mailto|tel|sip|skype|sms|whatsapp):[^\s<>\"']{3,200}", re.IGNORECASE)
_URL_END: Final = ".,;:!?)*_~"
_DOMAIN: Final = re.compile(
    r"(?<![\w@.-])(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,6}([a-z]{2,18}|[A-Z]{2,6})(?![\w@-])(?!\.\w)"
)
_IPV4: Final = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?:/\d{1,2})?(?![\w]|\.\d)")
_IPV6: Final = re.compile(
    r"(?<![\w:.])[0-9A-Fa-f]{0,4}(?::[0-9A-Fa-f]{0,4}){2,7}(?:\.\d{1,3}){0,3}(?:%\w{1,16})?(?:/\d{1,3})?(?![\w:])"
)
_MAC: Final = re.compile(r"(?<![\w:-])[0-9A-Fa-f]{2}(?:([:-])[0-9A-Fa-f]{2})(?:\1[0-9A-Fa-f]{2}){4}(?![\w:-])")
_MAC_DOTTED: Final = re.compile(r"(?<![\w.])[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}(?![\w.])")
_OCTET_MAX: Final = 255
_IPV6_COLONS: Final = 7
_IPV6_SIGNS_MIN: Final = 3
_SCHEMES: Final = ("mailto:", "tel:", "sip:", "skype:", "sms:", "whatsapp:")
_AT_SIGN: Final = re.compile("@")
_STOP: Final = re.compile(r"\.[A-Za-z]{2}")


def find(text: str, digits: Sequence[Region]) -> Iterator[tuple[int, int, str]]:
    """E-mail addresses, URLs, domains, IP and MAC addresses of a text."""
    signs = around(text, (match.span() for match in _AT_SIGN.finditer(text)), before=66, after=120)
    for pattern in (_EMAIL, _LOOSE_EMAIL):
        for match in matches(pattern, text, signs):
            yield *match.span(), "EMAIL"
    yield from _urls(text)
    stops = around(text, (match.span() for match in _STOP.finditer(text)), before=1, after=1)
    for match in matches(_DOMAIN, text, stops):
        if match[1].lower() in TOP_LEVEL:
            yield *match.span(), "DOMAIN"
    yield from _addresses(text, digits)


def _urls(text: str) -> Iterator[tuple[int, int, str]]:
    lower = text.lower()
    patterns: list[re.Pattern[str]] = []
    if "://" in text or "www" in lower:
        patterns.append(_URL)
    if any(scheme in lower for scheme in _SCHEMES):
        patterns.append(_OTHER_SCHEME)
    for pattern in patterns:
        for match in pattern.finditer(text):
            yield match.start(), match.start() + len(match[0].rstrip(_URL_END)), "URL"


def _addresses(text: str, digits: Sequence[Region]) -> Iterator[tuple[int, int, str]]:
    if "::" in text or text.count(":") >= _IPV6_COLONS:
        for match in _IPV6.finditer(text):
            if _is_ipv6(match[0]):
                yield *match.span(), "IP"
    for pattern in (_MAC, _MAC_DOTTED):
        for match in matches(pattern, text, digits):
            yield *match.span(), "MAC"
    for match in matches(_IPV4, text, digits):
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
