"""API keys, tokens, private keys, user names, and what stands after the word for a password in four languages."""

import re
from collections.abc import Iterator
from typing import Final

from flotilla.privacy.values.outline import Outline
from flotilla.privacy.values.regions import begins, matches, near_any

_KNOWN: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:AKIA|ASIA|AGPA|AIDA|AROA)[0-9A-Z]{16}"  # AWS
    r"|AIza[\w-]{30,40}"  # Google
    r"|sk-(?:ant-|proj-|or-)?[\w-]{16,200}"  # OpenAI, Anthropic and those who copy them
    r"|(?:sk|pk|rk)_(?:live|test)_\w{16,120}"  # Stripe
    r"|gh[pousr]_\w{30,255}|github_pat_\w{30,255}|glpat-[\w-]{20,64}"
    r"|xox[abeprs]-[\w-]{10,200}"  # Slack
    r"|(?:hf|npm|dop_v1|shpat|pypi)[_-][A-Za-z0-9_-]{20,200}"
    r"|SG\.[\w-]{16,32}\.[\w-]{16,64}"  # SendGrid
    r"|eyJ[\w-]{8,2000}\.[\w-]{4,4000}\.?[\w-]{0,1000}"  # JSON web tokens
    r")"
)
_PEM_BEGIN: Final = re.compile(r"-----BEGIN [A-Z0-9 ]{1,40}-----")
_PEM_END: Final = re.compile(r"-----END [A-Z0-9 ]{1,40}-----")
_TOLD: Final = re.compile(
    r"(?:pass(?:word|wd|phrase|code)|pwd?|secret|(?:api|access|auth|secret|private)[ _-]?(?:key|token)|token|bearer"
    r"|pin(?:[ -]?code)?|passwort|kennwort|(?:zugangs|tür|zugriffs|freischalt|sicherheits)-?code|mot de passe"
    r"|code (?:secret|pin|d'accès|de (?:la )?(?:porte|l'immeuble|sécurité))|contrase(?:ñ|n)a|clave"
    r"|(?:door|gate|entry|access|alarm|security|key|código de (?:la )?) ?-?(?:code|puerta|acceso)|(?:puk|tan)\b)"
    r"(?: (?:for|of|to|für|vom|von|zum|du|de|del|para)(?: (?:the|das|den|dem|la|le|el|l'))? ?[^\s:=]{1,20})?"
    r"[\"']?(?:\s{0,3}[:=]{1,2}>?\s{0,3}|\s(?:is|was|ist|war|lautet|est|était|es|era|c'est)(?: now| jetzt)?\s{1,2}:?\s{0,2})"
    r"[\"'`]?([^\s\"'`,;<>]{3,200})",
    re.IGNORECASE,
)
# "login ann password 3f9a-77bd": no sign between, but a digit and a letter in it.
_SAID_AFTER: Final = re.compile(
    r"\b(?:password|passwd|passwort|kennwort|mot de passe|contraseña)\s"
    r"(?=[^\s\"'`,;<>]{0,60}\d)(?=[^\s\"'`,;<>]{0,60}[^\W\d])([^\s\"'`,;<>]{6,200})",
    re.IGNORECASE,
)
_BEARER: Final = re.compile(r"\b(?:bearer|basic)\s+([A-Za-z0-9+/=_.~-]{12,4000})", re.IGNORECASE)
_USER_INFO: Final = re.compile(r"://([^\s/@:]{1,100}:[^\s/@]{1,200})@")


_USER_WORDS: Final = (
    "user",
    "usr",
    "uid",
    "owner=",
    "login",
    "handle",
    "benutzer",
    "anmelde",
    "identifiant",
    "usuario",
    "utilisateur",
)
_PASSWORD_WORDS: Final = ("passw", "kennwort", "mot de passe", "contraseña")
_TELLS: Final = (":", "=", ">")
# With which `_TOLD` begins.
_WORDS: Final = (
    *(
        "pass",
        "pw",
        "secret",
        "api",
        "access",
        "auth",
        "private",
        "token",
        "bearer",
        "pin",
        "kennwort",
        "zugangs",
        "tür",
    ),
    *("zugriffs", "freischalt", "sicherheits", "mot de passe", "code ", "contrase", "clave", "door", "gate", "entry"),
    *("alarm", "security", "key", "código de ", "puk", "tan"),
)


_USER: Final = re.compile(
    r"(?:user[ _-]?name|user[ _-]?id|login|handle|benutzer(?:name)?|anmeldename|identifiant"
    r"|usuario)[\"']?\s{0,2}[:=]\s{0,2}[\"']?([\w.@+-]{3,64})|\b(?:user|usr|uid|owner)=[\"']?([\w.@+-]{3,64})"
    # Without a sign before it, it must look like none of a sentence's words, or stand in a log.
    r"|(?:user[ _-]?name|user[ _-]?id|login|handle|benutzername|anmeldename|identifiant|usuario)"
    r"\s(?:is|was|ist|war|lautet|est|était|es|era)\s[\"']?(?=[\w.@+-]{0,30}[\d_.@-]\w)([\w.@+-]{3,64})"
    r"|\b(?:user|benutzer|utilisateur|usuario)\s[\"']?(?!(?:has|had|was|who|that|will|can|must|not|session|account|ist|hat|est)\s)"
    r"([\w.@+-]{3,64})[\"']?\s(?:logged|signed|authenticated|connected"
    r"|disconnected|locked|failed|hat sich|angemeldet|abgemeldet|gesperrt|s'est|connecté|inició|cerró)\b",
    re.IGNORECASE,
)
_HANDLE: Final = re.compile(r"@(?<![^\s(,:;]@)[A-Za-z_]\w{0,29}(?:\.\w{2,29}){0,3}(?<=\w{3})(?![\w@(/]|\.\w)")
# One of these is in every key of `_KNOWN`.
_KNOWN_PARTS: Final = (
    *(
        "AKIA",
        "ASIA",
        "AGPA",
        "AIDA",
        "AROA",
        "AIza",
        "sk-",
        "k_live_",
        "k_test_",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
    ),
    *("github_pat_", "glpat-", "xox", "hf_", "hf-", "npm_", "npm-", "dop_v1", "shpat", "pypi", "SG.", "eyJ"),
)
# Of NATS.
_SEED: Final = re.compile(begins("S", "A-Za-z0-9") + r"[OACU][A-Z2-7]{55,56}")


def find(outline: Outline) -> Iterator[tuple[int, int, str]]:
    """Keys, tokens and passwords of a text."""
    text = outline.text
    if any(part in text for part in _KNOWN_PARTS):
        for match in _KNOWN.finditer(text):
            yield *match.span(), "SECRET"
    for match in _SEED.finditer(text):
        yield *match.span(), "SECRET"
    yield from _keys(text)
    for match in _HANDLE.finditer(text):
        yield *match.span(), "ACCOUNT"
    if "://" in text:
        for match in _USER_INFO.finditer(text):
            yield *match.span(1), "SECRET"
    yield from _told(outline)


def _told(outline: Outline) -> Iterator[tuple[int, int, str]]:
    """What stands after the words for passwords, tokens and user names."""
    text, lower = outline.text, outline.lower
    for match in matches(_BEARER, text, near_any(lower, ("bearer", "basic"), before=1, after=4000)):
        yield *match.span(1), "SECRET"
    for match in outline.at_words(_SAID_AFTER, _PASSWORD_WORDS):
        yield match.start(1), match.start(1) + len(match[1].rstrip(".?)")), "SECRET"
    for match in matches(_USER, text, near_any(lower, _USER_WORDS, before=6, after=90)):
        yield *match.span(match.lastindex or 0), "ACCOUNT"
    for match in outline.at_words(_TOLD, _WORDS):
        # "The password is required" tells none: a value has a digit or a sign, or stands after a colon.
        told = match[1].rstrip(".?)")
        if told and (
            not told.isalpha() or text[max(0, match.start(1) - 6) : match.start(1)].rstrip(" \"'`")[-1:] in _TELLS
        ):
            yield match.start(1), match.start(1) + len(told), "SECRET"


def _keys(text: str) -> Iterator[tuple[int, int, str]]:
    """Private keys and certificates, each up to its end; one without an end to the end of the text."""
    begun = _PEM_BEGIN.search(text)
    while begun is not None:
        ended = _PEM_END.search(text, begun.end())
        end = len(text) if ended is None else ended.end()
        yield begun.start(), end, "SECRET"
        begun = _PEM_BEGIN.search(text, end)
