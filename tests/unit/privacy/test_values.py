"""Values with a form or a checksum: what is found, and as what."""

import string

import phonenumbers
import pytest
import stdnum.iban
import stdnum.luhn
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flotilla.privacy import Structured
from flotilla.privacy.layers import find_spans
from flotilla.privacy.values.numbers import IBAN_LENGTHS
from flotilla.privacy.values.phones import is_phone
from flotilla.testkit.examples import examples

STRUCTURED = [Structured()]


def found(text: str) -> dict[str, str]:
    """Values by their text."""
    return {text[span.start : span.end]: span.type for span in find_spans(text, STRUCTURED, language="any")}


@pytest.mark.parametrize("region", ["US", "GB", "DE", "FR", "ES", "IT", "PL", "BR", "IN", "AU", "JP", "ZA", "CH", "MX"])
@pytest.mark.parametrize("kind", [phonenumbers.PhoneNumberType.MOBILE, phonenumbers.PhoneNumberType.FIXED_LINE])
def test_a_number_is_a_phone_where_phonenumbers_says_so(region: str, kind: int):
    number = phonenumbers.example_number_for_type(region, kind)
    assert number is not None
    formats = phonenumbers.PhoneNumberFormat
    for form in (formats.INTERNATIONAL, formats.E164, formats.NATIONAL):
        shown = phonenumbers.format_number(number, form)
        if form != formats.NATIONAL or region in {"US", "GB", "DE", "FR", "ES"}:
            assert is_phone(shown), shown
    assert not is_phone("+999 123456789")
    assert not is_phone("+")


@pytest.mark.parametrize("country", sorted(IBAN_LENGTHS))
def test_an_account_number_has_its_countrys_length(country: str):
    """One that python-stdnum takes has no other: of a right number nothing is left, and nothing is added."""
    body = "1" * (IBAN_LENGTHS[country] - 4)
    for length in range(15, 35):
        number = f"{country}00{'1' * (length - 4)}"
        checked = stdnum.iban.calc_check_digits(number).zfill(2)
        assert length == IBAN_LENGTHS[country] or not stdnum.iban.is_valid(f"{country}{checked}{number[4:]}")
    check = stdnum.iban.calc_check_digits(f"{country}00{body}").zfill(2)
    right = f"{country}{check}{body}"
    assert found(f"to {right} by Friday")[right] == "IBAN"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("jane,5500 0000 0000 0004\n18,jean,x", "5500 0000 0000 0004"),
        ("jane,DE89370400440532013000\n18,jean,x", "DE89370400440532013000"),
        ("lag_ms=17\n2025-11-04T10:15:03Z WARN", "2025-11-04T10:15:03Z"),
    ],
)
def test_a_value_that_is_whole_does_not_go_on_in_the_next_line(text: str, value: str):
    spans = find_spans(text, [Structured()], language="any")

    assert value in {text[span.start : span.end] for span in spans}
    assert all(span.end - span.start <= len(value) for span in spans)


def test_columns_of_numbers_stay_apart():
    """Two values on two lines are one only where one of them was none alone."""
    rows = "198.51.100.23\n2024-05-02\n4111 1111 1111 1111\n5500000000000004\n"
    assert set(rows.split("\n")[:-1]) == set(found(rows))
    assert found("card 41\n11 1111 1111 1111 of") == {"41\n11 1111 1111 1111": "CARD"}


@pytest.mark.parametrize(
    ("text", "value", "type_name"),
    [
        ("write to o'neil+x@mail.example.co.uk.", "o'neil+x@mail.example.co.uk", "EMAIL"),
        ("see https://example.com/a?b=c#d, or", "https://example.com/a?b=c#d", "URL"),
        ("on shop.example.de today", "shop.example.de", "DOMAIN"),
        ("from 192.168.17.4 at", "192.168.17.4", "IP"),
        ("from 2001:db8::8a2e:370:7334 at", "2001:db8::8a2e:370:7334", "IP"),
        ("mac 00:1B:44:11:3A:B7 of", "00:1B:44:11:3A:B7", "MAC"),
        ("card 4111 1111 1111 1111 of", "4111 1111 1111 1111", "CARD"),
        ("card 4111 1111 1111 1112 of", "4111 1111 1111 1112", "NUMBER"),
        ("IBAN DE89 3704 0044 0532 0130 00 und", "DE89 3704 0044 0532 0130 00", "IBAN"),
        ("an DE89 3704 0044 0532 0130 01 und", "DE89 3704 0044 0532 0130 01", "NUMBER"),
        ("SSN 536-90-4399.", "536-90-4399", "ID"),
        ("SSN 000-12-3456.", "000-12-3456", "ID"),
        ("DNI 12345678Z,", "12345678Z", "ID"),
        ("NIE X-1234567-L,", "X-1234567-L", "ID"),
        ("né, NIR 2 95 10 99 126 111 93.", "2 95 10 99 126 111 93", "ID"),
        ("codice fiscale RCCMNL83S18D969H,", "RCCMNL83S18D969H", "ID"),
        ("NINO AB 12 34 56 C,", "AB 12 34 56 C", "ID"),
        ("Steuer-ID 36 574 261 809 ist", "36 574 261 809", "TAX"),
        ("AHV 756.9217.0769.85 von", "756.9217.0769.85", "ID"),
        ("VAT DE136695976 of", "DE136695976", "TAX"),
        ("USt-IdNr. DE136695977 von", "DE136695977", "TAX"),
        ("passport no. C01X0006H was", "C01X0006H", "ID"),
        ("Reisepass Nr. C4F2KX9T1 von", "C4F2KX9T1", "ID"),
        ("driver's license number D1234567 and", "D1234567", "ID"),
        ("account number 12345 was", "12345", "ACCOUNT"),
        ("Kontonummer: 0532013000", "0532013000", "ACCOUNT"),
        ("NI number QQ 12 34 56 C.", "QQ 12 34 56 C", "NUMBER"),
        ("SWIFT WESTGB2LXXX, or", "WESTGB2LXXX", "ACCOUNT"),
        ("Durchwahl -217 oder", "-217", "PHONE"),
        ("Akte 12 O 345/23 an", "12 O 345/23", "RECORD"),
        ("reference CR/44871/24.", "CR/44871/24", "RECORD"),
        ("HRB 11873, und", "11873", "ACCOUNT"),
        ("user=mkowalski logged", "mkowalski", "ACCOUNT"),
        ("the door code is A47B9.", "A47B9", "SECRET"),
        ("le code de la porte c'est A47B9 !", "A47B9", "SECRET"),
        ("Ousmane, 58 ans,", "58", "AGE"),
        ("a six-year-old boy", "six", "AGE"),
        ("jeudi 3 mars à 10h45", "jeudi 3 mars à 10h45", "DATE"),
        ("the 21st day of June 2023 between", "21st day of June 2023", "DATE"),
        ("sort code 12-34-56, and", "12-34-56", "ACCOUNT"),
        ("DNI 12.345.678-Z y", "12.345.678-Z", "ID"),
        ("MRN: 884421 was", "884421", "RECORD"),
        ("Aktenzeichen 12345/22 und", "12345/22", "RECORD"),
        ("call +1 (415) 555-2671 ext. 12 now", "+1 (415) 555-2671 ext. 12", "PHONE"),
        ("Tel. 030/901820 und", "030/901820", "PHONE"),
        ("appelez le 06 12 34 56 78 demain", "06 12 34 56 78", "PHONE"),
        ("her number is 020 7946 0958.", "020 7946 0958", "PHONE"),
        ("order 7312209 was", "7312209", "NUMBER"),
        ("plate B-MW 1234 was", "B-MW 1234", "PLATE"),
        ("immatriculée AB-123-CD à", "AB-123-CD", "PLATE"),
        ("on 12 March 2024 at 10:30 we", "12 March 2024 at 10:30", "DATE"),
        ("am 12. März 1985 in", "12. März 1985", "DATE"),
        ("le 1er avril 1990 à", "1er avril 1990", "DATE"),
        ("el 5 de mayo de 2001 en", "5 de mayo de 2001", "DATE"),
        ("on 03/04/1999 we", "03/04/1999", "DATE"),
        ("on March 3rd, 2021 we", "March 3rd, 2021", "DATE"),
        ("at 2024-02-29T10:00:00Z it", "2024-02-29T10:00:00Z", "DATE"),
        ("a 34-year-old man", "34", "AGE"),
        ("im Alter von 45 Jahren", "45", "AGE"),
        ("âgée de 71 ans", "71", "AGE"),
        ("tiene 52 años", "52", "AGE"),
        ("the key sk-ant-api03-abcdefghijkl1234 is", "sk-ant-api03-abcdefghijkl1234", "SECRET"),
        ("password: hunter", "hunter", "SECRET"),
        ("Das Passwort lautet Sommer2024!", "Sommer2024!", "SECRET"),
        (
            "token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-123 was",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc-123",
            "SECRET",
        ),
        ("her username is sreyes_88, and", "sreyes_88", "ACCOUNT"),
        ("user mfitzgerald logged in", "mfitzgerald", "ACCOUNT"),
        ("the temp pw is Gr33n!Lamp now", "Gr33n!Lamp", "SECRET"),
        ("das Passwort war Sonne#99 oder?", "Sonne#99", "SECRET"),
        ("le mot de passe du wifi : Chaton2024", "Chaton2024", "SECRET"),
        ("login ann password 3f9a-77bd-1c22", "3f9a-77bd-1c22", "SECRET"),
        ("member ID W2280 44719.", "W2280 44719", "ID"),
        ("license plate KXR 4471, and", "KXR 4471", "PLATE"),
        ("see github.com/mzhao91.", "github.com/mzhao91", "URL"),
        ("gegen 17.30 Uhr war", "17.30 Uhr", "DATE"),
        ("à 14 heures 30 le", "14 heures 30", "DATE"),
        ("on thursday we", "thursday", "DATE"),
        ("le trois mai mil neuf cent soixante-dix à", "trois mai mil neuf cent soixante-dix", "DATE"),
        ("son frère, quarante-deux ans, était", "quarante-deux", "AGE"),
        ("card exp 09/27, and", "09/27", "DATE"),
        ("a patient, 72F, seen", "72", "AGE"),
        ("cc @d.petrov, please", "@d.petrov", "ACCOUNT"),
        ("Staff no.: 00918 of", "00918", "ACCOUNT"),
        ("in postgres://app:s3cret@db:5432/x", "app:s3cret@db", "SECRET"),
    ],
)
def test_a_value_is_found_as_its_type(text: str, value: str, type_name: str):
    assert type_name == found(text).get(value)


@pytest.mark.parametrize(
    "text",
    [
        "It costs 1,234,567 dollars, $12,000 or 1 000 000 EUR.",
        "Version 1.2.3 of README.md, e.g. section 4.5.",
        "The password is required, and the token expires.",
        "Use 12345678 kWh at most.",
        "In 5 of 12 cases the ratio was 0.75 (75 %).",
        "std::vector and a::b, at no time.",
        "See RFC 7231, and the user has failed to read it.",
        "Garantía de dos años; the password was changed by nobody.",
    ],
)
def test_ordinary_text_is_left_alone(text: str):
    assert {} == found(text)


CARD_STARTS = ("4", "51", "34", "6011", "35")


@settings(max_examples=examples(60), deadline=None)
@given(st.sampled_from(CARD_STARTS), st.text("0123456789", min_size=11, max_size=11), st.sampled_from(["", " ", "-"]))
def test_every_card_whose_checksum_holds_is_a_card(start: str, rest: str, gap: str):
    digits = (start + rest)[:15]
    digits += stdnum.luhn.calc_check_digit(digits)
    shown = gap.join(digits[at : at + 4] for at in range(0, 16, 4))
    text = f"paid with {shown}, thanks"

    assert found(text) == {shown: "CARD"}


@settings(max_examples=examples(60), deadline=None)
@given(st.sampled_from([("DE", 18), ("FR", 23), ("ES", 20), ("GB", 18), ("NL", 14)]), st.data())
def test_every_iban_whose_checksum_holds_is_an_iban(country: tuple[str, int], data: st.DataObject):
    code, length = country
    account = data.draw(st.text("0123456789", min_size=length, max_size=length))
    if code in {"GB", "NL"}:
        account = "ABNA" + account[4:]
    iban = code + "00" + account
    checked = code + stdnum.iban.calc_check_digits(iban) + account
    assume(stdnum.iban.is_valid(checked, check_country=False))
    spaced = " ".join(checked[at : at + 4] for at in range(0, len(checked), 4))
    for shown in (checked, spaced):
        text = f"Please pay to {shown} by Monday"
        covered = [value for value in found(text) if shown in value]
        assert covered == [shown]


@settings(max_examples=examples(60), deadline=None)
@given(st.sampled_from(["US", "GB", "DE", "FR", "ES", "IT", "CH", "AT"]), st.sampled_from([0, 1, 2]), st.booleans())
def test_telephone_numbers_are_found_in_every_format(region: str, form: int, told: bool):  # noqa: FBT001
    number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
    assert number is not None
    shown = phonenumbers.format_number(number, form)
    text = f"{'Tel.: ' if told else 'or '}{shown} please"

    assert any(shown in value for value in found(text))


@settings(max_examples=examples(100), deadline=None)
@given(st.text(alphabet=string.printable + "äöüéñß€", max_size=200))
def test_any_text_is_read_without_an_error(text: str):
    found(text)
