"""Dates and ages in words, coordinates, wallets and postal codes in their many forms, in sentences; and what is none."""

import pytest

from flotilla.privacy.layers import find_spans
from flotilla.testkit.redaction_layers import structured_and_listed


def found(text: str, language: str) -> str:
    """The text with an underscore for every character that is found."""
    shown = list(text)
    for span in find_spans(text, structured_and_listed(), language=language):
        shown[span.start : span.end] = "_" * (span.end - span.start)
    return "".join(shown)


@pytest.mark.parametrize(
    ("language", "text", "values"),
    [
        ("en", "He was born on the ninth of July, nineteen seventy-four.", ["ninth of July, nineteen seventy-four"]),
        ("en", "It ends on August the twenty-second.", ["August the twenty-second"]),
        ("en", "She turned thirty-eight in spring.", ["thirty-eight"]),
        ("en", "a 61 y.o. man", ["61"]),
        (
            "en",
            "It is double oh seven, four one five, five five five.",
            ["double oh seven, four one five, five five five"],
        ),
        (
            "en",
            "Call zero seven seven zero zero nine hundred eight one one.",
            ["zero seven seven zero zero nine hundred eight one one"],
        ),
        ("de", "Die Nummer ist null eins sieben zwo drei vier fünf.", ["null eins sieben zwo drei vier fünf"]),
        ("fr", "C'est zéro six, un deux, trois quatre, cinq.", ["zéro six, un deux, trois quatre, cinq"]),
        ("es", "Es el seis uno dos, tres cuatro cinco, siete.", ["seis uno dos, tres cuatro cinco, siete"]),
        (
            "de",
            "Er ist am siebten Juni neunzehnhundertachtundsechzig geboren.",
            ["siebten Juni neunzehnhundertachtundsechzig"],
        ),
        ("de", "Sie ist siebenundfünfzig Jahre alt.", ["siebenundfünfzig"]),
        ("fr", "né le onze août mille neuf cent soixante-trois", ["onze août mille neuf cent soixante-trois"]),
        ("fr", "Il avait quarante et un ans.", ["quarante et un"]),
        (
            "es",
            "nacida el doce de junio de mil novecientos noventa y uno",
            ["doce de junio de mil novecientos noventa y uno"],
        ),
        ("es", "Mi madre tiene ochenta y tres años.", ["ochenta y tres"]),
        ("en", "They met at 47.37689, 8.54169 at noon.", ["47.37689, 8.54169"]),
        ("en", "The tent stands at 46°56'52\"N 7°26'39\"E today.", ["46°56'52\"N", "7°26'39\"E"]),
        (
            "en",
            "Pay to bc1q9h6yzs4k7m3r5t2w8x0c4v6b8n0m2a4s6d8f0g now.",
            ["bc1q9h6yzs4k7m3r5t2w8x0c4v6b8n0m2a4s6d8f0g"],
        ),
        ("en", "Pay to 3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy now.", ["3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy"]),
        (
            "en",
            "Pay to 0x8ba1f109551bD432803012645Ac136ddd64DBA72 now.",
            ["0x8ba1f109551bD432803012645Ac136ddd64DBA72"],
        ),
        ("en", "We live in 73301 now.", ["73301"]),
        ("en", "They moved from 33109, they say.", ["33109"]),
        ("en", "Send it to Wagga Wagga NSW 2650.", ["Wagga Wagga NSW 2650"]),
        ("en", "Our office is in Green Valley, AZ 85614-2201.", ["Green Valley, AZ 85614-2201"]),
        ("en", "He lives in Great Snoring.", ["Great Snoring"]),
    ],
)
def test_values_are_found_in_sentences(language: str, text: str, values: list[str]):
    assert [] == [value for value in values if value in found(text, language)]
    left = found(text, language)
    for value in values:
        assert "_" * len(value) in left


def test_behind_the_code_of_a_country_stands_no_number_of_a_person():
    text = "Call +44 7700 900116 or +44 7700 900907, she said."

    assert {"PHONE", "NUMBER"} >= {span.type for span in find_spans(text, structured_and_listed(), language="en")}


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The first of many, and the second of all."),
        ("en", "They counted 12345 households, in 20000 streets, to 54321 people."),
        ("en", "The ratio was 0.4731 and 0.9912 of it."),
        ("en", "It may second what the third said."),
        ("en", "Of one, two, three, four, five and six I like seven."),
        ("de", "Die besten Tage und die letzten Wochen."),
        ("fr", "Il a deux chats et trois chiens."),
        ("es", "Tiene dos perros de tres colores."),
        ("en", "The commit deadbeefdeadbeefdeadbeef broke it."),
    ],
)
def test_what_is_nobodys_stays(language: str, text: str):
    assert text == found(text, language)
