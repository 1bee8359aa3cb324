"""Companies by their legal form, institutions by the word that says what they are."""

import re
from collections.abc import Iterator, Sequence
from typing import Final

from flotilla.privacy.names.tokens import Token
from flotilla.privacy.values.regions import around, matches, words

_WORD: Final = r"(?:[^\W\d_a-zß-öø-ÿ][\w'.-]{0,40}|\d{1,4}(?=\s[^\W\d_a-z]))"
_JOIN: Final = (
    r"(?:\s(?:and|und|et|y|e|of|de|del|la|the|für|der|des|for|&|\+)(?:\s(?:the|la|le|der|den|des))?"
    r"|\s?[,&+/-]\s?(?:and\s|und\s|et\s|y\s)?)"
)
_FORM: Final = (
    r"(?:Inc|LLC|L\.L\.C|LLP|LP|PLC|Plc|plc|Ltd|Limited|Corp|Corporation|Co|Company|Companies"
    r"|Incorporated|Pty|Group|Holdings?|Partners|Associates|Sons|Daughters|Heating|Brothers|Bros"
    r"|GmbH(?:\s?&\s?Co\.?\s?KG)?|gGmbH|mbH|AG|KG|KGaA|OHG|GbR|UG|SE|e\.\s?V|eG|Gruppe|Partner|Söhne|Töchter"
    r"|SA|S\.A|SAS|S\.A\.S|SARL|S\.A\.R\.L|EURL|SCI|SNC|et Fils|Cie|SL|S\.L|SLU|S\.L\.U|SpA|S\.p\.A"
    r"|Srl|S\.r\.l|NV|N\.V|BV|B\.V|AB|A/S|ApS|Oy|Oyj|AS|ASA|sp\. z o\.o|s\.r\.o|Kft|Lda)"
)
_COMPANY: Final = re.compile(rf"(?<!\w){_WORD}(?:(?:[^\S\n]|{_JOIN}\s?){_WORD}){{0,6}}?,?\s{_FORM}(?![\w-])\.?")
_PAIR: Final = re.compile(
    rf"(?<!\w){_WORD}(?:\s?-\s?{_WORD}|,\s{_WORD})?,?\s(?:and|&)\s{_WORD}(?=\s(?:Orchestra|Ltd|Inc|LLC"
    rf"|Group|Associates|Law|Bank|Company)\b)"
)
_KIND: Final = (
    r"(?:University|College|School|Academy|Institute|Hospital|Clinic|Medical Center|Medical Centre"
    r"|Bank|Church|Foundation|Association|Society|Agency|Orchestra|Museum|Library"
    r"|Airlines|Airways|Insurance|Pharmacy|Consulting|Technologies|Solutions|Industries|Systems|Labs"
    r"|Studios|Records|Hotel|Restaurant|Café|Theatre|Theater|Stadium"
    r"|Klinik|Klinikum|Krankenhaus|Universität|Hochschule|Gymnasium|Sparkasse|Volksbank|Versicherung"
    r"|Versicherungen|Apotheke|Praxis|Kanzlei|Stiftung|Verein|Verlag|Werke|Bau"
    r"|Clinique|Hôpital|Université|Lycée|Collège|Banque|Assurances?|Mairie|Cabinet|Pharmacie|Fondation|Mutuelle"
    r"|Surgery|Dental|Bakery|Brewery|Garage|Plumbing|Roofing|Builders|Motors|Foods|Farms|Nursery|Logistics"
    r"|Publishing|Mutual|Bookshop|Florists|Ventures"
    r"|Pharmaceuticals|Telecom|Catering|Gym"
    r"|Jobcenter|Finanzamt|Amtsgericht|Landgericht|Oberlandesgericht|Standesamt|Jugendamt|Stadtwerke|Genossenschaft"
    r"|Bäckerei|Metzgerei|Autohaus|Tischlerei|Schreinerei|Druckerei|Gärtnerei|Brauerei|Grundschule|Realschule|Kita"
    r"|Société|Entreprise|Agence|Caisse|Boulangerie|Imprimerie|Librairie|Association|Établissements|Ets|SCI|SARL|SAS|EURL"
    r"|Tribunal|École|Crèche"
    r"|Cooperativa|Panadería|Talleres|Asociación|Empresa|Editorial|Gestoría|Caja|Juzgado|Escuela|Guardería|Librería"
    r"|Inmobiliaria|Construcciones|Transportes|Suministros"
    r"|Universidad|Hospital|Clínica|Banco|Colegio|Instituto|Farmacia|Ayuntamiento|Fundación|Seguros|Bufete)"
)
_AFTER_NAME: Final = re.compile(
    rf"(?<!\w){_WORD}(?:\s{_WORD}){{0,3}}\s{_KIND}(?!\w)(?:\s(?:of|von|de|für|at)\s{_WORD}(?:\s{_WORD}){{0,2}})?"
)
_BEFORE_NAME: Final = re.compile(
    rf"(?<!\w){_KIND}(?:\s(?:of|de|del|de la|für|du|des|am|an der|im|Saint|St\.|Sankt|San|Santa)\s|\s(?:d'|l')|\s)"
    rf"{_WORD}(?:(?<!\w\w\w\.)\s{_WORD}){{0,3}}"
)
_WORDS: Final = re.compile(r"[^\W\d_]+")
_KIND_WORDS: Final = frozenset(_WORDS.findall(_KIND))
# With the words without which the pattern does not match; taken from the patterns themselves.
_PATTERNS: Final = (
    (_COMPANY, frozenset(_WORDS.findall(_FORM))),
    (_PAIR, frozenset(_WORDS.findall("Orchestra Ltd Inc LLC Group Associates Law Bank Company"))),
    (_AFTER_NAME, _KIND_WORDS),
    (_BEFORE_NAME, _KIND_WORDS),
)
# "University of Physics", "Tribunal Supremo": what many are called is no name.
_OF_MANY: Final = words(
    "of de del la the für du des and und et y e & applied science sciences arts technology engineering physics "
    "mathematics law laws medicine economics education chemistry biology informatics philosophy music theology "
    "nursing design languages history sociology psychology agriculture pharmacy business management administration "
    "physik mathematik medizin recht wirtschaft technik chemie biologie informatik musik kunst künste wissenschaften "
    "angewandte médecine droit lettres commerce physique chimie derecho medicina ciencias artes letras economía "
    "ingeniería física química supremo constitucional"
)
_BEFORE: Final = 100
_AFTER: Final = 60
_LEADS: Final = re.compile(
    r"(?:The|Our|My|Your|This|That|Their|His|Her|In|At|On|From|To|For|And|But|Der|Die|Das|Den|Dem|Im"
    r"|Am|Bei|Eine?|Unsere?|Le|La|Les|L'|El|Los|Las|Dear|Hi|Hello)\s"
)


def find(text: str, tokens: Sequence[Token]) -> Iterator[tuple[int, int, str]]:
    """Organisations of a text."""
    for pattern, telling in _PATTERNS:
        told = [(token.start, token.end) for token in tokens if token.text in telling]
        for match in matches(pattern, text, around(text, told, before=_BEFORE, after=_AFTER)) if told else ():
            start = match.start()
            lead = _LEADS.match(text, start, match.end())
            while lead is not None:
                start = lead.end()
                lead = _LEADS.match(text, start, match.end())
            if pattern is _BEFORE_NAME and _is_of_many(match[0]):
                continue
            if " " in text[start : match.end()]:
                yield start, match.end(), "ORG"


def _is_of_many(shown: str) -> bool:
    """Whether what stands after the kind of an institution is a discipline, and nothing of its own."""
    return all(word.lower() in _OF_MANY for word in _WORDS.findall(shown)[1:])
