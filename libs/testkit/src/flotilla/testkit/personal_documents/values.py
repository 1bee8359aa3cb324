"""Made-up values: names of which half are on no list, numbers whose checksums hold."""

from dataclasses import dataclass
from random import Random
from typing import Final

import stdnum.de.idnr
import stdnum.es.dni
import stdnum.fr.nir
import stdnum.iban
import stdnum.luhn

FIRST: Final = {
    "en": "Oliver Amelia Harriet Nigel Priya Kwame Siobhan Declan Yusuf Mei Tobias Gwendolyn Ravi Imogen Callum Zainab Rupert Beatrice",
    "de": "Jürgen Annegret Lukas Sabine Heinz Friederike Mehmet Birgit Torsten Ingeborg Emre Wiebke Matthias Gudrun Klaus Svenja Detlef Anja",
    "fr": "Amélie Guillaume Thérèse Mathieu Océane Bertrand Fatou Yannick Solène Gaspard Maëlys Jean-Luc Anne-Sophie Karim Hélène Loïc Odile Rémi",
    "es": "Lucía Álvaro Inmaculada Gonzalo Rocío Iker Nuria Joaquín Consuelo Rubén Yolanda Íñigo Macarena Sergio Ximena Emilio Begoña Adrián",
}
LAST: Final = {
    "en": "Whitaker Okafor Pemberton O'Sullivan Chaudhry Blackwood Nakamura Featherstone Mbeki Hargreaves McAllister Lindqvist Ashworth Cole Price Marsh",
    "de": "Brinkmann Özdemir Kowalczyk Vogelsang Schäfer Hagedorn Wiesner Koch Zimmermann Petersen Nowak Brandt Lindemann Krüger Sommer Yıldız",
    "fr": "Lefebvre Beaumont Diallo Charpentier Rousseau Le-Gall Benhamou Delacroix Fournier Marchand Petit Garnier Moreau Nguyen Lacroix Perrin",
    "es": "Etxeberria Villalobos Zamora Montenegro Carrasco Ibáñez Quintana Ferrer Domínguez Aguirre Pastor Herrero Bustamante Cuesta Soler Vidal",
}
_SYLLABLES: Final = {
    "en": (
        ["Thorn", "Brax", "Wex", "Hal", "Quen", "Pell", "Stav", "Morr", "Cald", "Drev"],
        ["ington", "ley", "worth", "by", "er", "wick", "son", "ford", "ham", "ett"],
    ),
    "de": (
        ["Grot", "Wend", "Kösl", "Bram", "Fürst", "Hölz", "Quast", "Trieb", "Schnur", "Lott"],
        ["hoff", "meier", "ner", "inger", "ke", "ski", "au", "rath", "loh", "mann"],
    ),
    "fr": (
        ["Bour", "Cham", "Vall", "Mont", "Tréb", "Gui", "Lam", "Fauv", "Pell", "Roch"],
        ["geois", "bert", "ier", "eau", "audin", "ard", "onnet", "elle", "ac", "ot"],
    ),
    "es": (
        ["Zub", "Arr", "Ced", "Vill", "Mor", "Lar", "Ech", "Per", "Cast", "Qui"],
        ["iaga", "eta", "illo", "anueva", "ales", "uelos", "evarría", "ñas", "ejón", "roga"],
    ),
}
TOWNS: Final = {
    "en": "Birmingham Leeds Chicago Hexham Boston Ludlow Swindon Portland Denver Kettering",
    "de": "München Hannover Kassel Wuppertal Leipzig Buxtehude Rosenheim Graz Bamberg Flensburg",
    "fr": "Lyon Marseille Quimper Grenoble Limoges Nantes Carcassonne Perpignan Rouen Vesoul",
    "es": "Madrid Sevilla Zaragoza Pamplona Albacete Badajoz Valencia Oviedo Cádiz Lugo",
}
STREETS: Final = {
    "en": "Maple Street|Hawthorn Road|Kingsway Avenue|Willow Lane|Station Road|Pemberley Drive|Orchard Close|Fifth Avenue",
    "de": "Lindenstraße|Goethestr.|Am Alten Markt|Kirchweg|Bahnhofstraße|Schillerplatz|Hohenzollernallee|Mühlgasse",
    "fr": "rue Victor Hugo|avenue de la République|boulevard Voltaire|rue des Lilas|place Bellecour|chemin du Moulin|impasse des Tilleuls|quai de la Loire",
    "es": "Calle Mayor|Avenida de América|Paseo de Gracia|Calle de Alcalá|Plaza de España|C/ San Bernardo|Camino Viejo|Ronda de Atocha",
}
COMPANIES: Final = {
    "en": "Ltd|Inc.|LLP|Insurance|Consulting",
    "de": "GmbH|AG|e. V.|KG|Versicherung",
    "fr": "SARL|SAS|SA|et Fils|Assurances",
    "es": "S.L.|S.A.|Seguros|e Hijos S.L.",
}
_MONTHS: Final = {
    "en": "January February March April May June July August September October November December",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
}
_PHONES: Final = {
    "en": ("020 7946 0###", "(415) 555-01##", "+44 7700 900###", "0161 496 0###", "+1 212 555 01##"),
    "de": ("030 23125###", "0171 39200##", "+49 89 99998###", "040/66969###"),
    "fr": ("01 99 00 ## ##", "06 39 98 ## ##", "+33 2 61 91 ## ##"),
    "es": ("612 345 ###", "+34 915 550 ###", "91 555 0# ##", "722 33 ## ##"),
}


@dataclass(frozen=True, slots=True)
class Person:
    """A made-up person."""

    first: str
    last: str

    @property
    def full(self) -> str:
        """First and last name."""
        return f"{self.first} {self.last}"


def person(random: Random, language: str) -> Person:
    """Half of the family names are put together from syllables, so that no list has them."""
    last = random.choice(LAST[language].split())
    if random.random() < 0.5:  # noqa: PLR2004 - half
        begin, end = _SYLLABLES[language]
        last = random.choice(begin) + random.choice(end)
    return Person(random.choice(FIRST[language].split()), last)


def digits(random: Random, form: str) -> str:
    """The form with a digit for each #."""
    return "".join(str(random.randrange(10)) if sign == "#" else sign for sign in form)


def address(random: Random, language: str) -> str:
    """Street, house number, postal code and town on one line."""
    street, town, house = (
        random.choice(STREETS[language].split("|")),
        random.choice(TOWNS[language].split()),
        random.randint(1, 180),
    )
    match language:
        case "en":
            code = random.choice((digits(random, "NE4# #JT"), f"IL {digits(random, '6####')}"))
            return f"{house} {street}, {town}, {code}"
        case "de":
            return f"{street} {house}{random.choice(('', 'a', ''))}, {digits(random, '8####')} {town}"
        case "fr":
            return f"{house} {street}, {digits(random, '69###')} {town}"
        case _:
            return f"{street}, {house}, {digits(random, '28###')} {town}"


def date(random: Random, language: str) -> str:
    """In one of the language's forms."""
    day, month, year = random.randint(1, 28), random.randint(1, 12), random.randint(1938, 2026)
    name = _MONTHS[language].split()[month - 1]
    written = {
        "en": (f"{day} {name} {year}", f"{name} {day}, {year}", f"{month:02}/{day:02}/{year}"),
        "de": (f"{day}. {name} {year}", f"{day:02}.{month:02}.{year}"),
        "fr": (f"{day} {name} {year}", f"{day:02}/{month:02}/{year}"),
        "es": (f"{day} de {name} de {year}", f"{day:02}/{month:02}/{year}"),
    }
    return random.choice((*written[language], f"{year}-{month:02}-{day:02}"))


def phone(random: Random, language: str) -> str:
    """In one of the language's countries' forms."""
    return digits(random, random.choice(_PHONES[language]))


def email(random: Random, of: Person) -> str:
    """Of a person, or of nobody whose name one could read out of it."""
    name = "".join(
        sign for sign in f"{of.first}.{of.last}".lower() if sign.isascii() and (sign.isalpha() or sign == ".")
    )
    return (
        random.choice((name, f"{name[0]}{random.randint(10, 999)}"))
        + "@"
        + random.choice(("example.com", "mail.example.org", "post.example.net"))
    )


def company(random: Random, language: str) -> str:
    """A family name and a legal form."""
    return f"{person(random, language).last} {random.choice(COMPANIES[language].split('|'))}"


def iban(random: Random, language: str) -> str:
    """With a checksum that holds; in groups of four or in one."""
    country, form = {
        "en": ("GB", "NWBK" + "#" * 14),
        "de": ("DE", "#" * 18),
        "fr": ("FR", "#" * 23),
        "es": ("ES", "#" * 20),
    }[language]
    account = digits(random, form)
    number = country + stdnum.iban.calc_check_digits(country + "00" + account) + account
    return random.choice((number, " ".join(number[at : at + 4] for at in range(0, len(number), 4))))


def card(random: Random) -> str:
    """With a checksum that holds."""
    begin = random.choice(("4", "51", "55", "6011")) + digits(random, "#" * 15)
    number = begin[:15] + stdnum.luhn.calc_check_digit(begin[:15])
    gap = random.choice(("", " ", "-"))
    return gap.join(number[at : at + 4] for at in range(0, 16, 4))


def national_id(random: Random, language: str) -> str:
    """Of the language's largest country, with a checksum that holds where there is one."""
    match language:
        case "en":
            return digits(random, f"{random.randint(101, 660)}-{random.randint(10, 99)}-{random.randint(1001, 9998)}")
        case "de":
            while True:
                number = digits(random, "##########")
                number = next(
                    (number[:10] + last for last in "0123456789" if stdnum.de.idnr.is_valid(number[:10] + last)), ""
                )
                if number:
                    return number
        case "fr":
            number = f"{random.choice('12')}{random.randint(40, 99)}{random.randint(1, 12):02}{random.randint(10, 89)}{digits(random, '######')}"
            return number + stdnum.fr.nir.calc_check_digits(number)
        case _:
            number = digits(random, "########")
            return number + stdnum.es.dni.calc_check_digit(number)
