"""
Persons: titles, greetings, signatures and other words that announce a name, and runs of capitalised words.

In English, French and Spanish a word with a capital in the middle of a sentence that no list of ordinary words has is
more probably a name than anything else. In German it is so when it is no noun either.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from flotilla.privacy import lexicon
from flotilla.privacy.lexicon import COMMON_ANYWHERE
from flotilla.privacy.names.learned import is_learned
from flotilla.privacy.names.spellings import first_words, matches_at
from flotilla.privacy.names.tokens import Token
from flotilla.privacy.values.outline import WordPlaces
from flotilla.privacy.values.regions import words

# Bounded, as every repetition here: one that is not takes time quadratic in a text made for it.
_CAP: Final = r"[^\W\d_a-zß-öø-ÿ][^\W\d_]{0,40}\.?(?:['-][^\W\d_]{1,40}){0,3}"
_PARTICLE: Final = r"(?:van|von|vom|zu|zum|de|den|der|del|della|di|da|dos|do|du|la|le|los|las|y|bin|ibn|al|el|ter|ten)"
_NAME: Final = rf"(?:{_PARTICLE}\s){{0,3}}{_CAP}(?: (?:{_PARTICLE}\s){{0,3}}{_CAP}){{0,3}}"

TITLE_WORDS: Final = (
    r"Mr|MR|MRS|MS|MISS|DR|PROF|HERR|FRAU|MME|MLLE|SRA|Mrs|Ms|Miss|Mx|Messrs|Dr\.\smed|Dr\.\sphil|Dr\.\sjur|Dr\.\srer\.\snat|Dr\.\smed\.\sdent|Dr\.\smed\.\svet|Dr\.-Ing|Dr|Drs|Prof|Professor|Sir|Dame|Madam|Lord|Lady|Rev|Reverend|Hon|Capt"
    r"|Captain|Sgt|Lt|Col|Gen|Judge|Justice"
    r"|Herrn?|Frau|Fräulein|Hr|Fr|Doktor|Professorin|Frau Dr|Herrn? Dr|RA|RAin|Dipl\.-Ing|Ing|Mag"
    r"|M|MM|Mme|Mmes|Mlle|Monsieur|Madame|Mademoiselle|Maître|Me|Docteur|Pr|Docteure"
    r"|Sr|Sra|Srta|Sres|Dña|Señor|Señora|Señorita|Don|Doña|Dra|Lic|Profesora?|Doctora?|señor|señora|señorita|don|doña"
)
_TITLED: Final = re.compile(rf"(?<!\w)((?:(?:{TITLE_WORDS})\.?\s{{1,2}}){{1,3}})({_NAME})")
_TITLE_ALONE: Final = re.compile(
    r"(?<!\w)(?:Dr\.\s(?:(?:med|phil|jur|rer|nat|dent|vet|habil)\.\s?){0,3}(?<=\.)|(?:Mr|Mrs|Ms|Miss|Mx|Dr|Dra|Prof|Pr|Mme|Mlle|Sr|Sra|Srta|Dña)\.?|Herrn?|Frau|Fräulein|Madame"
    r"|Monsieur|Mademoiselle"
    r"|[Ss]eñora?|[Ss]eñorita|[Dd]on|[Dd]oña)"
    rf"(?=\s(?:{_PARTICLE}\s){{0,3}}[^\W\d_a-zß-öø-ÿ])"
)
_SPLIT: Final = re.compile(r"\S+")

GREETING: Final = (
    r"Dear|Hi|Hello|Hey|Thanks,?|Thank you,?|Good (?:morning|afternoon|evening),?|Liebe[rs]?|Hallo"
    r"|Guten (?:Tag|Morgen|Abend),?|Moin"
    r"|Cher|Chère|Chers|Bonjour|Bonsoir|Salut|Estimad[oa]|Querid[oa]|Hola|Buenos días,?|Buenas tardes,?"
)
_GREETED: Final = re.compile(rf"(?<!\w)(?:{GREETING}) ({_NAME})(?=\s*[,.!:;?]|\s*\n|\s*\Z|\s(?:and|und|et|y) )")
SAID_WORDS: Final = (
    r"[Mm]y (?:full |last |first |sur)?name(?: is|'s)|[Nn]ame is|I am|I'm|[Tt]his is|(?:is "
    r"|was |be |am )?(?:called|named)|[Ss]igned by"
    r"|[Ii]ch heiße|heißt|hieß|[Mm]ein Name ist|[Mm]ein Name:|[Ii]ch bin|[Gg]ezeichnet|[Nn]amens|[Gg]ez\."
    r"|[Jj]e m'appelle|[Jj]e suis|[Mm]on nom est|[Nn]ommée?|[Ss]oussignée?,?|[Mm]i nombre es|[Mm]e "
    r"llamo|[Ss]oy|[Ll]lamad[oa]|[Ff]irmado:?"
)
_SAID: Final = re.compile(rf"(?<!\w)(?:{SAID_WORDS})\s{{1,2}}({_NAME})")
_SAID_SMALL: Final = re.compile(
    r"(?<!\w)(?:my name(?: is|'s)|name is|i am|i'm|this is|mein name ist|ich heiße|je m'appelle|mi "
    r"nombre es|me llamo) ([^\W\d_]{2,20}(?: [^\W\d_]{2,20})?)"
)
# One of these is in each of its matches.
_SMALL_SAID: Final = (
    "name is",
    "name's",
    "i am",
    "i'm",
    "this is",
    "name ist",
    "ich heiße",
    "m'appelle",
    "nombre es",
    "me llamo",
)
LABEL_PREFIXES: Final = (
    r"[Ff]ull|[Ff]irst|[Ll]ast|[Mm]iddle|[Gg]iven|[Ff]amily|[Uu]ser|[Cc]ontact|[Pp]atient|[Cc]ustomer|[Cc]lient|[Ee]mployee"
    r"|[Tt]enant|[Ll]andlord"
)
LABEL_WORDS: Final = (
    r"[Nn]ame|NAME|[Ss]urname|[Pp]atient(?:in)?|[Pp]atiente|[Tt]enant|[Ll]andlord|[Cc]ontact"
    r"|[Ss]igned|[Aa]ttn|[Aa]ttention|[Ff]rom|[Tt]o|[Cc]c|[Aa]uthor|[Ww]itness"
    r"|[Vv]orname|[Nn]achname|[Nn]achn|[Mm]ieter(?:in)?|[Vv]ermieter(?:in)?|[Aa]nsprechpartner(?:in)?"
    r"|[Kk]unde|[Kk]undin|[Uu]nterschrift|[Aa]bsender|[Vv]on|[Aa]n"
    r"|[Nn]om|[Pp]rénom|[Ll]ocataire|[Bb]ailleur|[Cc]lient[e]?|[Dd]estinataire|[Nn]ombre|[Aa]pellidos?"
    r"|[Pp]aciente|[Aa]rrendatari[oa]|[Aa]rrendador[a]?|[Ff]irmado"
)
_LABEL: Final = re.compile(
    rf"(?<!\w)(?:(?:{LABEL_PREFIXES})[ _]?)?(?:{LABEL_WORDS})[\"']?\s?[:=]\s{{0,3}}[\"']?({_NAME})(?![\w@.-])"
)
CLOSING: Final = (
    r"[Rr]egards|[Ss]incerely|[Ff]aithfully|[Ww]ishes|[Cc]heers|[Tt]hanks|[Tt]ruly|[Gg]rüßen?"
    r"|[Gg]rüße|[Gg]rüsse|[Gg]russ|[Gg]ruß|LG|VG|MfG|[Hh]ochachtungsvoll|[Cc]ordialement|[Ss]alutations(?: distinguées)?"
    r"|[Aa]mitiés|[Aa]tentamente|[Ss]aludos?(?: cordiales)?|[Cc]ordialmente"
)
_SIGNATURE: Final = re.compile(
    rf"(?:{CLOSING})(?:\s?[,.!]?[ \t]*\n\s{{0,40}}|,\s|\s(?:von\s)?)({_NAME})[ \t]*(?=\n|\Z|,|\s\()"
)
ROLE_WORDS: Final = (
    r"[Oo]fficer|[Nn]urse|[Jj]udge|[Pp]laintiff|[Dd]efendant|[Ff]amily|[Tt]enant|[Pp]atient|[Cc]olleague|[Nn]eighbour"
    r"|Angeklagten?|Beklagten?|Kläger(?:in)?s?|Zeugen?|Zeugin|Mieter(?:in)?s?|Patient(?:en|in)?|Kund(?:e|en|in)|Kolleg(?:e|en|in)"
    r"|Nachbar(?:n|in)?|Rechtsan(?:walt|wältin)s?|Notar(?:in)?s?|Richter(?:in)?s?|Arzt|Ärztin|Lehrer(?:in)?|Geschäftsführer(?:in)?s?"
    r"|Bewerber(?:in)?s?|Antragsteller(?:in)?s?|Mandant(?:en|in)?|Eheleuten?|Ehepaars?|Familie|Witwer?|Geschwister|Prokurist(?:in)?"
    r"|[Ff]amille|[Vv]euve|[Éé]poux|[Dd]octeur|[Mm]aître|[Tt]émoin|[Pp]révenue?|[Vv]oisine?|[Cc]ollègue"
    r"|[Ff]amilia|[Vv]iuda|[Dd]octora?|[Tt]estigo|[Aa]cusad[oa]|[Vv]ecin[oa]|[Aa]bogad[oa]|[Nn]otari[oa]|[Cc]ompañer[oa]"
)
_ROLE: Final = re.compile(rf"(?<!\w)(?:{ROLE_WORDS})" rf"\s({_NAME})")
KIN_WORDS: Final = (
    r"mother|father|mum|mom|dad|son|daughter|wife|husband|brother|sister|uncle|aunt|cousin|niece|nephew|partner"
    r"|fiancée?|girlfriend|boyfriend|stepson|stepdaughter|grandson|granddaughter|grandmother|grandfather"
    r"|Mutter|Vater|Sohn|Tochter|Ehefrau|Ehemann|Frau|Mann|Bruder|Schwester|Onkel|Tante|Enkel(?:in)?|Lebensgefährt(?:e|in)"
    r"|Partner(?:in)?|Verlobte[rn]?|Schwager|Schwägerin|Neffe|Nichte"
    r"|mère|père|fils|fille|épouse|époux|mari|femme|frère|sœur|oncle|tante|conjointe?|compagne|compagnon|cousine?"
    r"|madre|padre|hijo|hija|esposa|esposo|marido|mujer|hermano|hermana|tío|tía|primo|prima|pareja|novio|novia"
)
BORN_WORDS: Final = r"[Bb]orn in|[Gg]eboren in|[Ss]tammt aus|[Nn]acid[oa] en|[Nn]atural de|[Nn]ée? à|[Oo]riginaire de"
LIVES_WORDS: Final = (
    r"[Ll]ives? in|[Ll]ived in|[Ll]iving in|[Rr]esides in|[Rr]esiding in|[Mm]oved to|[Ww]ohnt in|[Ww]ohne in|[Ww]ohnhaft in"
    r"|[Hh]abite à|[Hh]abitant à|[Vv]ive en|[Vv]ivo en|[Rr]eside en"
)
# Without an article: "vive en la Calle Mayor" has a street, which others find.
_LIVES: Final = re.compile(rf"(?<!\w)(?:{LIVES_WORDS}) ({_CAP}(?: {_CAP}){{0,2}})")
_BORN: Final = re.compile(rf"(?<!\w)(?:{BORN_WORDS}) ({_NAME})")
_KIN: Final = re.compile(rf"(?<!\w)(?:{KIN_WORDS})" rf",? \(?({_NAME})")
_TITLE_ALONE_WORDS: Final = first_words(
    r"Mr|Mrs|Ms|Miss|Mx|Dr|Dra|Prof|Pr|Mme|Mlle|Sr|Sra|Srta|Dña|Herrn?|Frau|Fräulein|Madame|Monsieur|Mademoiselle|[Ss]eñora?"
    r"|[Ss]eñorita|[Dd]on|[Dd]oña"
)
# With the words of which a text must have one.
_ANNOUNCED: Final = (
    (_TITLED, first_words(TITLE_WORDS)),
    (_ROLE, first_words(ROLE_WORDS)),
    (_KIN, first_words(KIN_WORDS)),
    (_GREETED, first_words(GREETING)),
    (_SAID, first_words(SAID_WORDS)),
    (_BORN, first_words(BORN_WORDS)),
    (_LIVES, first_words(LIVES_WORDS)),
    (_LABEL, first_words(f"{LABEL_PREFIXES}|{LABEL_WORDS}")),
    (_SIGNATURE, first_words(CLOSING)),
)

# What announces a name may announce any noun as well.
_WEAK: Final = frozenset((_ROLE, _SAID, _KIN))

PARTICLES: Final = words(
    "van von vom zu zum zur de den der del della dei di da das dos do du des la le los las y bin ibn "
    "ben al el ter ten te af av"
)
SAINTS: Final = words("Sankt St Saint Sainte San Santa Santo São")
_LINK: Final = re.compile(r"\.?[ \u00a0]{1,2}\Z|\.\Z")
_PARTICLES_MAX: Final = 3

# With a capital, before a name, and none: what often begins a sentence or a heading right before one.
NO_NAMES: Final = words(
    "meine mein demandado demandante svnr tiene vers durchwahl zimmer ust ust-idnr idnr ust-id siret siren pesel itin bsn "
    "cpf tfn nyha nhc ipp mrn iban bic rendez-vous x-ray nº n° º "
    "tel fax mobil mobile nr no abs betr anlage dept attn ref re cc bcc ps pdf "
    "i i'm i'd i'll i've the a an and or but if when while as for in on at to from by of with is are was were has "
    "have had do does did will would can could may might must should it he she we they you my your his her our "
    "their this that these those there not no yes so please thanks thank dear hi hello hey what who where why how "
    "which der die das den dem ein eine einen und oder aber wenn als für im am zu von mit ist sind war hat haben "
    "ich du er sie es wir ihr ihre ihren mein dein sein nicht bitte sehr le la les un une des de et ou mais si "
    "quand pour dans par avec est sont je tu il elle nous vous ils elles mon ma votre notre ce cette ces qui que "
    "el los las una y o pero cuando para en por con son yo tú él ella usted mi su se sí hola team all sir madam "
    "damen herren kollegen kolleginnen everyone everybody both customer support guys monday tuesday wednesday "
    "thursday friday saturday sunday"
)


def announced(text: str, language: str, places: WordPlaces) -> Iterator[tuple[int, int, str]]:
    """Names that other words announce, and titles."""
    for pattern, triggers in _ANNOUNCED:
        for match in matches_at(pattern, text, triggers, places):
            if pattern in _WEAK and _is_no_name(match[1]) and not (pattern is _KIN and language in {"en", "fr", "es"}):
                continue
            yield from _name_in(
                text, *match.span(match.lastindex or 0), keep_first=pattern is _TITLED, german=language == "de"
            )
    for match in matches_at(_TITLE_ALONE, text, _TITLE_ALONE_WORDS, places):
        yield *match.span(), "TITLE"


def _is_no_name(name: str) -> bool:
    """Whether it is an ordinary word that is nobody's name: "das heißt Arbeit"."""
    if " " in name:
        return False
    word = name.rstrip(".").lower()
    return bool(lexicon.ordinary_words().flags(word) & COMMON_ANYWHERE and not lexicon.names().flags(word))


def _name_in(text: str, start: int, end: int, *, keep_first: bool, german: bool) -> Iterator[tuple[int, int, str]]:
    """The span, up to the first word that is none of a name."""
    last = start
    for match in _SPLIT.finditer(text, start, end):
        word = match[0].rstrip(".,").lower()
        if word in NO_NAMES and word not in PARTICLES:
            break
        if match[0][0].islower():
            continue
        last = match.end()
        if german and not keep_first and match.start() > start and match[0][-1:] == ".":
            break
    if last > start:
        # The stop of an initial belongs to the name: "Jane D."; that of a sentence does not.
        if text[last - 1] == "." and text[last - 3 : last - 2].isalpha():
            last -= 1
        yield start, last, "PERSON"


def said_small(text: str) -> Iterator[re.Match[str]]:
    """Where somebody says a name in small letters: "my name is jane doe"; the first group is what was said."""
    return _SAID_SMALL.finditer(text) if any(said in text for said in _SMALL_SAID) else iter(())


def runs(text: str, tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """Runs of words that are names, with the initials, particles and further capitalised words that belong to them."""
    at = 0
    while at < len(tokens):
        if not tokens[at].name:
            at += 1
            continue
        first = _first_of_run(text, tokens, at)
        last = _last_of_run(text, tokens, at)
        yield list(tokens[first : last + 1])
        at = last + 1


def _is_learned(token: Token) -> bool:
    return not (token.first or token.last) and is_learned(token.lower)


def _linked(text: str, left: Token, right: Token) -> bool:
    return right.start - left.end <= 3 and bool(_LINK.match(text[left.end : right.start]))  # noqa: PLR2004 - a stop and two spaces


def _first_of_run(text: str, tokens: Sequence[Token], at: int) -> int:
    while at > 0 and _linked(text, tokens[at - 1], tokens[at]):
        before = tokens[at - 1]
        initial = (
            before.capital
            and len(before.text) == 1
            and (before.text != "I" or text[before.end] == ".")
            and not (before.begins and before.text == "A")
        )
        ambiguous = before.capital and before.first and not before.begins
        # "VIKRAM SUNDARESAN": between words in small letters, two in capitals belong together.
        shouted = before.upper and tokens[at].upper and not before.common
        if not (initial or ambiguous or shouted or before.text in SAINTS) or before.lower in NO_NAMES - {"i"}:
            break
        at -= 1
    return at


def _last_of_run(text: str, tokens: Sequence[Token], at: int) -> int:
    last = at
    ahead = at + 1
    particles = 0
    while ahead < len(tokens) and _linked(text, tokens[ahead - 1], tokens[ahead]):
        token = tokens[ahead]
        stop = text[tokens[ahead - 1].end] == "." and len(tokens[ahead - 1].text) > 2  # noqa: PLR2004 - "J." ends no sentence
        if stop or (token.begins and not token.name):
            break
        lower = token.lower
        if not token.capital and lower in PARTICLES and particles < _PARTICLES_MAX:
            particles += 1
        elif token.capital and lower not in NO_NAMES and (token.name or not (token.begins or _is_learned(token))):
            last, particles = ahead, 0
        else:
            break
        ahead += 1
    return last
