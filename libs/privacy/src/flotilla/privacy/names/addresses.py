"""Streets with house numbers, houses with names and post boxes, in the forms of many countries."""

import re
from collections.abc import Iterator
from typing import Final

from flotilla.privacy.names import postal_codes
from flotilla.privacy.names.postal_codes import CAPITALISED as _CAP
from flotilla.privacy.names.spellings import first_words, matches_at, spellings
from flotilla.privacy.values.dates import MONTHS
from flotilla.privacy.values.outline import ANY_LENGTH, Outline, WordPlaces
from flotilla.privacy.values.regions import Region, around, begins, matches, words

_CAPITAL: Final = r"^\W\d_a-zß-öø-ÿ"
_HOUSE: Final = r"\d{1,5}(?:\s?[a-zA-Z](?!\w))?(?:\s?[-/]\s?\d{1,4}[a-z]?)?(?!\w|[.,]\d)"
ENGLISH_KINDS: Final = (
    r"(?:Street|St|Avenue|Ave|Av|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Courts|Ct|Place|Pl|Way"
    r"|Ways|Terrace|Ter|Square|Squares|Sq|Parkway|Parkways|Pkwy|Circle|Circles|Cir"
    r"|Highway|Hwy|Trail|Trl|Close|Crescent|Cres|Gardens?|Grove|Groves|Mews|Row|Walk|Hill|Hills|Park"
    r"|Parks|Plaza|Plz|Loop|Alley|Path|Pass|Point|Points|Ridge|Ridges|Run|Crossing"
    r"|Bend|Branch|Bridge|Brook|Brooks|Bypass|Canyon|Cape|Causeway|Center|Centers|Cliff|Cliffs|Club"
    r"|Common|Corner|Corners|Course|Cove|Coves|Creek|Crest|Curve|Dale|Dam|Divide"
    r"|Estate|Estates|Expressway|Extension|Fall|Falls|Ferry|Field|Fields|Flat|Flats|Ford|Fords|Forest"
    r"|Forge|Fork|Forks|Fort|Freeway|Gateway|Glen|Glens|Green|Greens|Harbor|Harbors"
    r"|Haven|Heights|Hollow|Inlet|Island|Islands|Isle|Junction|Junctions|Key|Keys|Knoll|Knolls|Lake"
    r"|Lakes|Land|Landing|Light|Lights|Loaf|Lock|Locks|Lodge|Mall|Manor|Manors"
    r"|Meadow|Meadows|Mill|Mills|Mission|Motorway|Mount|Mountain|Mountains|Neck|Orchard|Oval|Overpass"
    r"|Passage|Pike|Pine|Pines|Plain|Plains|Port|Ports|Prairie|Radial|Ramp|Ranch"
    r"|Rapid|Rapids|Rest|River|Roads|Rise|Route|Rue|Shoal|Shoals|Shore|Shores|Skyway|Spring|Springs|Spur"
    r"|Spurs|Station|Stravenue|Stream|Summit|Throughway|Trace|Track|Trafficway"
    r"|Tunnel|Turnpike|Underpass|Union|Unions|Valley|Valleys|Via|Viaduct|View|Views|Village|Villages"
    r"|Ville|Vista|Walks|Wall|Well|Wells|Wharf|Yard)"
)
_ENGLISH_WORDS: Final = first_words(ENGLISH_KINDS[3:-1])
_UNIT: Final = (
    r"(?:,?\s{1,2}(?:Apt|Apartment|Suite|Ste|Unit|Floor|Fl|Flat|Room|Rm|Building|Bldg|App|Whg|Wohnung|Stock|Etage|étage"
    r"|Bât|Appt|Piso|Puerta|Esc|Box|Bus|#)\.?\s?#?\s?(?:\d\w{0,5}|[A-Za-z](?:-?\d{1,4})?(?!\w)|links|rechts|mitte)"
    r"|,?\s{1,2}\d{1,2}(?:\.?[º°ª]|\.\s?(?:OG|UG|Stock|Etage|Obergeschoss)|(?:st|nd|rd|th) [Ff]loor|e(?:r|me)? étage)"
    r"(?:\s(?:links|rechts|mitte|izq\.?|izqda\.?|dcha\.?|ext\.?|[A-Z](?!\w)))?|,?\s(?:EG|DG)(?!\w)(?:\s(?:links|rechts))?)"
)
_ENGLISH: Final = re.compile(
    begins("0-9", r"\w.,$€£-") + rf"\d{{0,5}}[A-Za-z]?(?:\s\d{{1,5}}(?:st|nd|rd|th)?)?,?\s(?:(?:North|South|East|West"
    rf"|[NSEW]{{1,2}}\.?|Old|New|Upper|Lower)\s)?"
    rf"(?:{_CAP}\s|\d{{1,3}}(?:st|nd|rd|th)\s){{1,4}}{ENGLISH_KINDS}(?!\w)\.?(?:\s(?:N|S|E|W|NE|NW|SE"
    rf"|SW|North|South|East|West)(?!\w))?{_UNIT}{{0,2}}"
)
_UNIT_ALONE: Final = re.compile(
    r"(?<!\w)(?:Apt|Apartment|Suite|Ste|Unit|Flat|Whg|Wohnung|Appt|Appartement|Bât"
    r"|Piso)\.?\s#?\d{1,5}[A-Za-z]?(?:,?\s[Bb]ox\s\d{1,6})?(?![\w%])"
)
_FLOOR: Final = re.compile(r"(?<![\w.,])\d{1,2}\.?[º°ª]\s?(?:[A-Z]|izq\.?|izqda\.?|dcha\.?)(?!\w)")
_MILITARY: Final = re.compile(r"(?<!\w)(?:APO|DPO|FPO),?\sA[AEP](?:,?\s\d{5}(?:-\d{4})?)?(?!\w)")
_NO_NUMBER: Final = re.compile(
    begins(_CAPITAL, r"\w")
    + rf"[\w'.-]{{0,40}}(?:\s{_CAP})?\s(?:Street|Avenue|Ave|Road|Rd|Lane|Drive|Boulevard|Blvd|Court"
    rf"|Terrace|Square|Crescent|Parkway|Highway|Parks|Courts|Ways|Mews|Grove)(?!\w)"
)
GERMANIC_KINDS: Final = (
    r"[Ss]tra(?:ß|ss)e|[Ss]tr\.|[Ww]eg"
    r"|[Pp]latz|[Aa]llee|[Gg]asse|[Rr]ing|[Dd]amm|[Uu]fer|[Cc]haussee|steig|[Ss]tieg|[Pp]fad|[Hh]of|[Mm]arkt|wall|[Gg]raben|[Bb]erg"
    r"|kamp|[Ss]iedlung|[Ss]tiege|promenade|twiete|anger|deich|steg|wiesen?|winkel|gässchen|koppel|brink|redder|brücke"
    r"|straat|laan|plein|gracht|kade|dijk|singel|dreef|baan|utca|tér|út|vägen|gatan|gränd|stigen|gata"
    r"|veien|vegen|vei|gade|vej|vænget|allé|katu|kuja|polku|gate|vegur|braut|tie"
)
_GERMANIC_ENDS: Final = tuple({ending.strip(".").lower() for ending in spellings(GERMANIC_KINDS)})
_GERMANIC_LAST: Final = frozenset(ending[-2:] for ending in _GERMANIC_ENDS)
_GERMANIC: Final = re.compile(
    rf"(?<!\w)(?:{_CAP}[ -]){{0,3}}(?:[^\W\d_a-zß-öø-ÿ][\w'-]{{0,40}}?\s?)?(?:{GERMANIC_KINDS})"
    rf",?\s{{1,2}}(?:Nr\.\s?)?{_HOUSE}{_UNIT}{{0,2}}"
)
_AT_THE: Final = re.compile(
    rf"(?<!\w)(?:Am|An der|An den|Auf dem|Auf der|Im|In der|In den|Zum|Zur|Unter den|Unter der|Hinter "
    rf"der|Hinter dem|Vor dem|Bei der|Beim)(?:\s{_CAP}){{1,2}}\s{_HOUSE}"
)
ROMANCE_KINDS: Final = (
    r"(?:[Rr]ue|[Aa]venue|[Aa]v\.|[Bb]oulevard|[Bb]d\.?|[Bb]lvd|[Pp]lace|[Cc]hemin|[Aa]llée|[Ii]mpasse"
    r"|[Rr]oute|[Qq]uai|[Cc]ours|[Pp]assage|[Ss]quare|[Ff]aubourg|[Ss]entier|[Vv]oie"
    r"|[Cc]alle|[Cc]/|P[º°]|[Aa]venida|[Aa]vda\.?|[Pp]aseo|[Pp]laza|[Pp]za\.?|[Cc]amino|[Cc]arretera"
    r"|[Cc]tra\.?|[Rr]onda|[Tt]ravesía|[Cc]alzada|[Gg]lorieta|[Cc]uesta|[Cc]arrer|[Pp]asaje|[Rr]ambla|[Rr]ésidence|[Ll]otissement|[Hh]ameau|[Ll]ieu-dit|[Ll]ugar|[Pp]olígono|[Bb]arrio|[Cc]orredera|[Uu]rbanización|[Uu]rb\."
    r"|Via|Viale|Piazza|Piazzale|Corso|Largo|Vicolo|Strada|Contrada|Rua|Praça|Travessa|Estrada|Alameda|Avinguda"
    r"|[Uu]l\.|[Uu]lica|[Aa]l\.|[Aa]leja|[Oo]s\.|[Pp]l\.|Plac|Calea|Bulevardul|Šetalište|Trg|Cesta|Kossuth|Jalan)"
)
_OF: Final = (
    r"(?:(?:de la|de las|de los|de l'|de|del|des|du|d'|dei|delle|della|degli|di|da|dos|do|das|la|le|les|los|las"
    r"|el|l')\s?)"
)
_ROMANCE_NUMBER_LAST: Final = re.compile(
    rf"(?<!\w){ROMANCE_KINDS}\s{{0,2}}{_OF}{{0,2}}(?:{_CAP}"
    rf"|\d{{1,2}}(?=\s(?:de\s)?[^\W\d_]))(?:[\s-]{_OF}{{0,2}}(?:{_CAP}|mai|mayo|juillet|septembre"
    rf"|novembre|novembre|abril|maggio|aprile)){{0,4}}"
    rf",?\s{{1,2}}(?:n[º°o.]{{0,3}}\s?|núm\.?\s?|(?:nave|parcela|bloque|portal|local|km\.?)\s"
    rf"|Nr\.?\s?)?{_HOUSE}(?:,?\s(?:\d{{1,2}}[º°ª](?:\s?[A-Z](?!\w))?|[Bb]ajo|izq\.?"
    rf"|dcha\.?)){{0,2}}{_UNIT}?"
)
_ROMANCE_NUMBER_FIRST: Final = re.compile(
    begins("0-9", r"\w.,-") + rf"\d{{0,4}}(?:\s?(?:bis|ter|quater"
    rf"|[A-D])(?!\w))?,?\s{{1,2}}{ROMANCE_KINDS}\s{_OF}{{0,2}}(?:{_CAP}"
    rf"|\d{{1,2}}\s[a-zé]{{3,9}})(?:(?<!\w\w\w\w\.)[\s-]{_OF}{{0,2}}{_CAP}){{0,4}}(?:\s\d{{1,4}}(?!\w))?"
)
# In small letters, as in a chat: only with a number.
_SMALL_STREET: Final = re.compile(
    r"(?<!\w)(?:[a-zäöüß]{3,30}(?:stra(?:ß|ss)e|str\.|gasse|allee|weg|platz)\s\d{1,4}(?:\s?[a-z])?"
    r"|(?:calle|avenida|avda\.?|plaza|paseo|rue|bd|boulevard|avenue|chemin|impasse|place|quai)\s(?:(?:de la|de los|de las"
    r"|des|del|du|de)\s|de l')?[^\W\d_A-Z]{3,20}(?:[ -][^\W\d_A-Z]{3,20})?,?\s\d{1,4}(?:\s?[a-z])?)(?!\w|[.,]\d)"
)
_SMALL_NUMBER_FIRST: Final = re.compile(
    begins("0-9", r"\w.,-")
    + r"\d{0,3}(?:\s?(?:bis|ter))?,?\s(?:rue|avenue|av\.?|bd|boulevard|place|chemin|impasse|allée|quai"
    r"|cours)\s(?:(?:de la|des|du|de)\s|de l'|d')?[^\W\d_A-Z]{3,20}(?:[ -][^\W\d_A-Z]{3,20})?(?!\w)"
)
_SMALL_KINDS: Final = words("calle avenida avda plaza paseo rue bd boulevard avenue chemin impasse place quai")
_SMALL_ENDS: Final = ("straße", "strasse", "str", "gasse", "allee", "weg", "platz")
# A street of its own name, where somebody lives; and one that ends in "-straße", without a number.
LIVES_AT_WORDS: Final = (
    "[Ww]ohnhaft|[Ww]ohnt|[Ww]ohne|[Dd]emeurant|[Dd]omiciliad[oa]|[Rr]esiding|[Rr]esides|[Ll]ives|[Aa]nschrift"
)
_LIVES_AT: Final = re.compile(
    rf"(?<!\w)(?:{LIVES_AT_WORDS})(?:\s(?:in der|in|at|en|au|à|:))?:?\s((?:{_CAP}\s){{1,4}}{_HOUSE})"
)
_GERMAN_ALONE: Final = re.compile(
    r"(?:(?:in|auf|an) der|Ecke)\s(?!(?:Bundes|Land|Einbahn|Seiten|Haupt|Neben|Quer|Spiel|Wasser|Schnell|Kreis|Zufahrts"
    r"|Durchgangs|Ring|Dorf|Fern|Schotter|Geschäfts|Einkaufs|Wohn|Milch|Seiden|Staats|Mautst?|Anlieger|Fahrrad)stra)"
    r"([A-ZÄÖÜ][a-zäöüß]{2,30}(?:stra(?:ß|ss)e|gasse))(?!\w)"
)
_ROMANCE_ALONE: Final = re.compile(
    rf"(?<!\w)(?:[Rr]ue|[Cc]alle|Via|[Rr]ua|[Pp]laza"
    rf"|[Pp]iazza)\s{_OF}{{0,2}}{_CAP}(?:[\s-]{_OF}{{0,2}}{_CAP}){{0,3}}"
)
_BOX: Final = re.compile(
    r"(?:P\.?\s?O\.?\s?[Bb](?:ox|OX)|[Pp]ost\s?(?:[Bb]ox|[Ff]ach|[Bb]us|[Bb]oks)|B\.?P\.?"
    r"|Apartado(?: de [Cc]orreos)?|Apdo\.?|Boîte [Pp]ostale|PSC|Unit"
    r"|CMR)\s(?:n[º°o]\.?\s?)?(?:\d{1,3}(?:\s\d{2,3}){1,2}(?!\w)|\d{1,6})(?:,?\s[Bb]ox\s\d{1,6})?(?!\w|/\d)"
)
_OF_THE: Final = re.compile(
    rf"(?<!\w)(?:Straße|Strasse|Platz|Allee|Ufer|Ring) (?:des|der|am|von|vom)(?: \d{{1,2}}\.)?(?:\s{_CAP}){{1,3}}\s{_HOUSE}"
)
_HOUSE_ALONE: Final = re.compile(r"\d{1,4}(?:\s?[a-zA-Z](?!\w))?(?:-\d{1,3})?(?!\w|[.,:/-]\d|\s?%)")
_NAME_BEFORE: Final = re.compile(begins(_CAPITAL, r"\w") + rf"[\w'.-]{{0,40}}(?:\s{_CAP}){{0,3}}[^\S\n]\Z")
_YEAR_DIGITS: Final = 4
_ENDS_NAME: Final = "'.-"
_NAMES_LENGTH_MAX: Final = 168
_NAME_LENGTH_MAX: Final = 42
# A house that has a name in place of a number.
_HOUSE_NAMED: Final = re.compile(
    rf"(?<!\w)(?:The (?:Old )?{_CAP}|(?:{_CAP}\s){{1,2}}(?:Cottage|House|Lodge|Farm|Farmhouse|Barn|Hall|Manor|Villa|Bungalow"
    r"|Mill|Maltings|Rectory|Vicarage|Forge|Grange|Croft|Court|Mansions))(?=,\s(?:\d|[A-Z]))"
)
_ROMANCE_WORDS: Final = first_words(ROMANCE_KINDS[3:-1])
_AT_THE_WORDS: Final = words("Am An Auf Im In Zum Zur Unter Hinter Vor Bei Beim")
_LIVES_AT_WORDS: Final = first_words(LIVES_AT_WORDS)
_GERMAN_ALONE_WORDS: Final = words("in auf an Ecke")
_UNIT_WORDS: Final = words("Apt Apartment Suite Ste Unit Flat Whg Wohnung Appt Appartement Bât Piso")
_HOUSE_WORDS: Final = words(
    "The Cottage House Lodge Farm Farmhouse Barn Hall Manor Villa Bungalow Mill Maltings Rectory Vicarage Forge Grange "
    "Croft Court Mansions"
)
_NO_NUMBER_WORDS: Final = words(
    "Street Avenue Ave Road Rd Lane Drive Boulevard Blvd Court Terrace Square Crescent Parkway Highway Parks Courts Ways "
    "Mews Grove"
)
_OF_THE_WORDS: Final = words("Straße Strasse Platz Allee Ufer Ring")
_MILITARY_WORDS: Final = words("APO DPO FPO")
_BOX_WORDS: Final = words(
    "P PO POBox POBOX Post post Postbox PostBox Postfach PostFach Postbus PostBus Postboks PostBoks postbox postBox postfach"
    " postFach postbus postBus postboks postBoks B BP Apartado Apdo Boîte PSC Unit CMR"
)
_HOUSE_DIGITS_MAX: Final = 6
_HOUSE_ALONE_DIGITS_MAX: Final = 4
_NAME_WORDS_MAX: Final = 4
# Two words of a street or a house before the word that tells, and the longest such word with what follows it.
_NAMED_BEFORE: Final = 90
_NAMED_AFTER: Final = 60
_SHORTEST_STREET: Final = 2
# A house number with what may stand before the kind of its street; and what begins with one of the words.
_ROMANCE_NUMBER_LENGTH_MAX: Final = 15
_BY_WORDS: Final = (
    (_AT_THE, _AT_THE_WORDS),
    (_ROMANCE_NUMBER_LAST, _ROMANCE_WORDS),
    (_OF_THE, _OF_THE_WORDS),
    (_UNIT_ALONE, _UNIT_WORDS),
    (_MILITARY, _MILITARY_WORDS),
    (_BOX, _BOX_WORDS),
)
# "Am Alten Lindenweg, Nr. 12": what stands between the street and the house.
_BEFORE_HOUSE: Final = re.compile(r"\.?,?\s{1,2}(?:Nr\.\s?)?\Z")
_BEFORE_HOUSE_LENGTH_MAX: Final = 8
_BEFORE_HOUSE_LAST: Final = frozenset(" \n\t.")
_STREET_ENDS_WITH: Final = 12
_STREET_LENGTH_MAX: Final = 170
_HOUSE_LENGTH_MAX: Final = 60
# A court that is none to live in, and the day before an hour.
_NO_STREET: Final = re.compile(
    r"(?:The )?(?:Supreme|Crown|County|District|Federal|Constitutional|Circuit|Superior|Family|Magistrates'?) Court\Z"
    r"|(?:January|February|March|April|May|June|July|August|September|October|November|December|Jan|Feb"
    r"|Mar|Apr|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b"
)


def find(outline: Outline, places: WordPlaces) -> Iterator[tuple[int, int, str]]:
    """Streets, post boxes and postal codes."""
    text = outline.text
    for match in _streets(outline, places):
        if not _NO_STREET.match(match[0].lstrip("0123456789 ")):
            yield *match.span(), "ADDRESS"
    for pattern, told_by in ((_LIVES_AT, _LIVES_AT_WORDS), (_GERMAN_ALONE, _GERMAN_ALONE_WORDS)):
        for match in matches_at(pattern, text, told_by, places):
            yield *match.span(1), "ADDRESS"
    yield from postal_codes.find(outline, places)


def _streets(outline: Outline, places: WordPlaces) -> Iterator[re.Match[str]]:
    text, digits = outline.text, outline.digits
    for pattern, begun_by in _BY_WORDS:
        yield from matches_at(pattern, text, begun_by, places)
    yield from matches_at(_ROMANCE_ALONE, text, _ROMANCE_WORDS, places)
    if not _ENGLISH_WORDS.isdisjoint(places):
        yield from outline.at_numbers(_ENGLISH, 1, _HOUSE_DIGITS_MAX)
    yield from outline.at_numbers_before(
        _ROMANCE_NUMBER_FIRST, _ROMANCE_WORDS & places.keys(), _ROMANCE_NUMBER_LENGTH_MAX
    )
    # The one ends with its word, the other goes on.
    for pattern, told_by, after in ((_NO_NUMBER, _NO_NUMBER_WORDS, 1), (_HOUSE_NAMED, _HOUSE_WORDS, _NAMED_AFTER)):
        told = sorted((place, place) for word in told_by & places.keys() for place in places[word])
        if told:
            yield from matches(pattern, text, around(text, told, before=_NAMED_BEFORE, after=after))
    yield from matches(_GERMANIC, text, _before_houses(outline))
    yield from _small_streets(outline, places)
    if "º" in text or "°" in text or "ª" in text:
        yield from matches(_FLOOR, text, digits)
    if outline.has_shape("99999"):
        yield from postal_codes.after_states(text)


def _small_streets(outline: Outline, places: WordPlaces) -> Iterator[re.Match[str]]:
    """Streets in small letters."""
    if not outline.numbers:
        return
    told = [word for word in places if word.endswith(_SMALL_ENDS) and word.islower()]
    yield from matches_at(_SMALL_STREET, outline.text, _SMALL_KINDS.union(told), places)
    if not _SMALL_KINDS.isdisjoint(places) or "allée" in places or "cours" in places or "av" in places:
        yield from outline.at_numbers(_SMALL_NUMBER_FIRST, 1, 4)


def _before_houses(outline: Outline) -> list[Region]:
    """Where a word that ends as streets do stands before a number."""
    text, lower = outline.text, outline.lower
    found: list[Region] = []
    for number in outline.places(1, ANY_LENGTH):
        if text[number - 1 : number] not in _BEFORE_HOUSE_LAST:
            continue
        if text[number - 1] == " " and text[number - 2].isalnum():
            end = number - 1
        else:
            before = _BEFORE_HOUSE.search(text, max(0, number - _BEFORE_HOUSE_LENGTH_MAX), number)
            if before is None:
                continue
            end = before.start()
        if lower[end - 2 : end] in _GERMANIC_LAST and lower.endswith(
            _GERMANIC_ENDS, max(0, end - _STREET_ENDS_WITH), end
        ):
            found.append((end, end))
    return around(text, found, before=_STREET_LENGTH_MAX, after=_HOUSE_LENGTH_MAX)


def names_with_houses(outline: Outline) -> Iterator[tuple[int, int, int]]:
    """What is a street and a house number if its first word is no ordinary one: start, start of the number, end."""
    text = outline.text
    for number in outline.places(1, _HOUSE_ALONE_DIGITS_MAX):
        if number < _SHORTEST_STREET or not text[number - 1].isspace() or text[number - 1] == "\n":
            continue
        last = text[number - 2]
        if not last.isalpha() and last not in _ENDS_NAME:
            continue
        # Most numbers have no capital before them, and a search backwards is slow.
        word = text[text.rfind(" ", max(0, number - _NAME_LENGTH_MAX), number - 1) + 1 : number]
        house = _HOUSE_ALONE.match(text, number) if word != word.lower() else None
        if house is None or (len(house[0]) == _YEAR_DIGITS and word.strip().lower() in MONTHS):
            continue
        # It has no more words than these.
        start = max(0, number - _NAMES_LENGTH_MAX)
        words_before = text[start:number].rsplit(None, _NAME_WORDS_MAX)
        start += len(words_before[0]) if len(words_before) > _NAME_WORDS_MAX else 0
        name = _NAME_BEFORE.search(text, start, number)
        if name is not None:
            yield name.start(), number, house.end()
