"""
Persons and organizations by their names: capitals, titles, legal forms, greetings, signatures, common first names.

A name that nothing around it or in it speaks for is left out: German capitalises every noun, English every heading.
"""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_UPPER = "A-ZÀ-ÖØ-ÞĀĂĄĆČĎĐĒĖĘĚĞĢĪİĶĻŁŃŅŇŌŐŒŘŚŞŠŤŪŮŰŹŻŽΑ-ΩА-ЯЁІЇЄ"
_NAME = rf"(?:[{_UPPER}][^\W\d_]{{1,30}}(?:[-'’][^\W\d_]{{1,30}}){{0,3}}|[{_UPPER}]['’][{_UPPER}][^\W\d_]{{1,30}})"  # noqa: RUF001
_INITIAL = rf"[{_UPPER}]\."
_PARTICLE = r"(?:van der|van den|van|von der|von|de la|del|de|di|da|dos|bin|al|el|le|la|zu|ter)"
_PERSON = rf"{_NAME}(?:[ ](?:{_PARTICLE}[ ])?(?:{_INITIAL}[ ])?{_NAME}){{0,3}}"
_FULL_PERSON = rf"{_NAME}(?:[ ](?:{_PARTICLE}[ ])?(?:{_INITIAL}[ ])?{_NAME}){{1,3}}"
_TITLE = (
    r"(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Sir|Madam|Dame|Lord|Lady|Judge|Captain|Professor|Doctor|Herr|Herrn|Frau|Monsieur|"
    r"Madame|Mme|Mlle|Señor|Señora|Sra|Sr|Don|Doña|Signor|Signora|Dott|Ing|Dipl)\b\.?"
)
_FORM = (
    r"(?:Inc|LLC|L\.L\.C|Ltd|Limited|LLP|PLC|plc|Corp|Corporation|Company|Co|GmbH|gGmbH|mbH|AG|SE|KG|OHG|UG|eG|e\.V|"
    r"S\.A\.S|SAS|SARL|S\.A|SA|S\.L|SL|S\.p\.A|SpA|S\.r\.l|Srl|B\.V|BV|N\.V|NV|Oy|AB|A/S|ApS|AS|Pty|Group|Holdings?|"
    r"Partners|Associates|Bank|Insurance|Versicherung|University|Universität|College|Institute|Institut|Foundation|"
    r"Stiftung|Association|Ministry|Hospital|Klinik|Agency|Council|Authority|Department|Laboratories|Labs|Logistics|"
    r"Technologies|Systems|Solutions|Services|Consulting|Industries|Airlines|Airways|Energy|Pharma|Motors)"
)
# One way to read a word: with a second one, a page of capitals would be read in every combination of them.
_COMPANY_WORD = rf"(?:\d{{0,3}}[{_UPPER}][\w'’-]{{0,40}}\.?)"  # noqa: RUF001
_ORGANIZATION = (
    rf"(?:{_COMPANY_WORD}(?:[ ](?:(?:&|and|und|et|of|für|de|for)[ ])?|,[ ])){{1,5}}{_FORM}(?!\w)"
    r"(?:(?<=Inc)\.|(?<=Ltd)\.|(?<=Corp)\.|(?<=Co)\.|(?<=S\.[AL])\.)?"
    r"(?:[ ]&[ ]Co\.?)?(?:[ ]KG(?:aA)?(?!\w))?"
)
_OF = (
    r"(?:University|Bank|Ministry|Department|Institute|City|Government|State|Universität|Ministerium|Université|Banque)"
)
_GREETING = (
    r"(?:[Dd]ear|Hi|Hello|[Ll]iebe[rs]?|Hallo|Sehr geehrte[rs]?|Chère?|Bonjour|Estimad[oa]|Hola|Gentile|Attn:?|"
    r"[Ss]igned by|[Cc]ontact(?: person)?:?|[Rr]epresented by|vertreten durch|[Mm]y name is|[Mm]ein Name ist|I am|"
    r"[Aa]nsprechpartner(?:in)?:?|[Pp]atient(?:in)?:|Name:|c/o)"
)
_CLOSING = (
    r"(?:[Ss]incerely(?: yours)?|[Yy]ours (?:sincerely|faithfully|truly)|[Kk]ind [Rr]egards|[Bb]est [Rr]egards|"
    r"[Ww]arm [Rr]egards|[Rr]egards|[Bb]est(?: wishes)?|[Tt]hanks|[Tt]hank you|[Cc]heers|[Mm]it freundlichen Grüßen|"
    r"[Ff]reundliche Grüße|[Vv]iele Grüße|[Bb]este Grüße|[Cc]ordialement|[Aa]tentamente|[Ss]aludos)[,.!]?"
    r"[ ]{0,4}\r?\n(?:[ \t]{0,8}\r?\n){0,2}"
)

_FIRST_NAMES: Final = frozenset(
    """
    Aaron Adam Ahmed Aisha Alan Albert Alejandro Alessandro Alex Alexander Alexandra Alice Ali Amanda Amelia Amy
    Ana Andrea Andreas Andrew Angela Anita Anja Anna Anne Antonio Arthur Barbara Beatrice Benjamin Bernd Birgit
    Brian Camille Carla Carlos Carmen Caroline Catherine Charles Charlotte Chen Chloe Christian Christina
    Christine Christopher Claire Claudia Clara Daniel Daniela David Deborah Diana Diego Dieter Dmitri Dominik
    Edward Elena Eleanor Elisabeth Elizabeth Ella Emily Emma Eric Erik Ethan Eva Fatima Felix Fernando Florian
    Francesca Francesco Francisco Frank Franz Fred Frederik Gabriel George Georg Gerhard Giulia Giovanni Grace
    Greta Guillaume Hannah Hans Harry Heike Heinz Helen Helena Henry Hiroshi Hugo Ibrahim Ines Ingrid Isabel
    Isabella Ivan Jack Jacob Jakob James Jan Jane Janet Jason Javier Jean Jennifer Jessica Joachim Joan Johan
    Johann Johannes John Jonas Jonathan Jorge Jose José Joseph Juan Judith Julia Julian Julie Jürgen Karen Karin
    Karl Katharina Katherine Kathrin Kenji Kevin Klaus Lars Laura Lea Lena Leo Leon Leonie Linda Lisa Louis
    Louise Luca Lucas Lucia Luis Lukas Magdalena Manfred Manuel Marc Marco Marcus Margaret Maria María Marie
    Mario Marion Mark Markus Marta Martha Martin Martina Mary Mateo Matthew Matthias Max Maximilian Mei Melanie
    Mia Michael Michelle Miguel Mikhail Mohamed Mohammed Monica Monika Nadia Nancy Natalie Natasha Nicholas
    Nicole Niklas Nina Noah Nora Olaf Oliver Olivia Omar Oscar Pablo Patricia Patrick Paul Paula Paulo Pedro
    Peter Petra Philip Philipp Pierre Priya Rachel Rafael Rainer Raj Ralf Rebecca Renate Richard Robert Roberto
    Roland Rosa Ruth Ryan Sabine Samantha Samuel Sandra Sara Sarah Sebastian Silke Simon Sofia Sophia Sophie
    Stefan Stefanie Stephanie Stephen Steven Susan Susanne Sven Tanja Tatiana Theresa Thomas Tim Timothy Tobias
    Tom Tomas Ulrich Ursula Uwe Valentina Vanessa Vera Victor Victoria Vincent Vladimir Walter Wei Werner
    William Wolfgang Xavier Yasmin Yuki Yusuf Zoe
    """.split()  # noqa: SIM905  # a word list reads better without quotes
)
_NOT_NAMES: Final = frozenset(
    """
    Sir Madam Customer Team Colleagues All Sirs Support Service Sales Manager Director Customers Members Hiring
    Committee Damen Herren Damen Kollegen Kunde Kundin Madame Monsieur Sorry Glad Happy Writing Interested Not
    Very So The This That It We You They He She I A An In On At For From To Your Our My His Her Please Thank
    Thanks Head Office Department Invoice Order Date Subject Re Account Mr Mrs Ms Dr Prof Herr Frau Herrn
    """.split()  # noqa: SIM905  # a word list reads better without quotes
)

_TITLED = re.compile(
    rf"(?<!\w){_TITLE}(?:[ ](?:{_TITLE}|med\.?|jur\.?)){{0,3}}[ ](?P<it>(?:{_INITIAL}[ ]){{0,2}}{_PERSON})"
)
_GREETED = re.compile(rf"(?<!\w){_GREETING}[ ](?:{_TITLE}[ ]){{0,3}}(?P<it>{_PERSON})")
_SIGNED = re.compile(rf"(?<!\w){_CLOSING}[ \t]{{0,8}}(?:{_TITLE}[ ]){{0,2}}(?P<it>{_FULL_PERSON})")
_CAPITALISED = re.compile(rf"(?<![\w'’.-]){_FULL_PERSON}(?!\w)")  # noqa: RUF001
_COMPANY = re.compile(rf"(?<![\w&.]){_ORGANIZATION}")
_NAMED_AFTER = re.compile(
    rf"(?<!\w){_OF}[ ](?:of|für|de|der|des)[ ](?:the[ ])?{_NAME}(?:[ ](?:(?:and|of)[ ])?{_NAME}){{0,3}}"
)
_LEADING = re.compile(r"(?:The|Our|Your|At|In|With|From|By|For|And|Between|Dear|Die|Der|Das|Bei|Von|Mit|La|Le)[ ]")


class NameSpan(NamedTuple):
    """A name in a document."""

    type: str
    start: int
    end: int


def organizations(document: str, start: int, end: int) -> Iterator[NameSpan]:
    """Names with a legal form or a word for an institution."""
    for regex in (_COMPANY, _NAMED_AFTER):
        for match in regex.finditer(document, start, end):
            begin = match.start()
            while leading := _LEADING.match(document, begin, match.end()):
                begin = leading.end()
            if " " in document[begin : match.end()].strip():
                yield NameSpan("organization", begin, match.end())


def persons(document: str, start: int, end: int) -> Iterator[NameSpan]:
    """Names after a title or a greeting, under a closing, and those that begin with a common first name."""
    for regex in (_TITLED, _GREETED, _SIGNED):
        for match in regex.finditer(document, start, end):
            if span := _person(document, match.start("it"), match.end("it")):
                yield span
    for match in _CAPITALISED.finditer(document, start, end):
        first = re.split(r"[ -]", match.group(), maxsplit=1)[0]
        begin = match.start()
        if first not in _FIRST_NAMES and first in _NOT_NAMES:
            # "Please Anna Weber" and "Subject Anna Weber": the name may begin one word later.
            begin += len(first) + 1
            first = document[begin : match.end()].split(" ", 1)[0]
        if (
            first in _FIRST_NAMES
            and " " in document[begin : match.end()]
            and (span := _person(document, begin, match.end()))
        ):
            yield span


def _person(document: str, start: int, end: int) -> NameSpan | None:
    """Cut a name before the first word that is none."""
    for word in re.finditer(r"\S+", document[start:end]):
        if word.group().strip(".") in _NOT_NAMES:
            end = start + word.start()
            break
    kept = document[start:end].rstrip()
    return NameSpan("person", start, start + len(kept)) if len(kept) > 1 else None
