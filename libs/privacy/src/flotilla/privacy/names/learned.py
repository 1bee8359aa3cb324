"""Words that are no names by the way they are made: of medicine, of administration, of units; in four languages."""

import re
from functools import lru_cache
from typing import Final

from flotilla.privacy import lexicon
from flotilla.privacy.lexicon import COMMON_ANYWHERE
from flotilla.privacy.values.regions import words

_KEPT_MAX: Final = 16_384
# Stems of the World Health Organization's international names of medicines, as the four languages write them; the
# shortest ones, which end names as well (Ranvir, Maximus), with the letters that come before them. And what is measured
# in blood.
_MEDICINE: Final = re.compile(
    r"(?:sart[aá]n|statin|olol|azol|cill?in|m[yi]cin|oxacin|c[yi]clin|gliptin|gliflozin|glitazon|glutid|enatid|reotid|parin"
    r"|xaban|gatran|triptan|formin|s[eé]mid|th?iazid|dipin|oxetin|tralin|[ai]lopram|ipram|faxin|triptylin|peridon|tiapin"
    r"|[nz]zapin|zepam|zolam|pidem|barbital|zepin|gabalin|gabapentin|racetam|trigin|prof[eè]n|fenac|coxib|c[eé]tamol|codon"
    r"|fentan[iy]l|predniso|son(?=[ea]\Z)|solon|pril|pamil|azosin|vaptan|rubicin|platin|taxel|[a-z]{3}[iou]mab|[a-z]tinib"
    r"|fenib|ciclib|parib|zomib|olimus|trexat|ciclovir|[iou]navir|tegravir|buvir|previr|amivir|fovir|setron|lukast|denafil"
    r"|dalafil|thyroxin|warfarin|dogrel|sugrel|grelor|ph?yllin|meterol|moterol|butamol|fibrat|dronat|bactam|penem|sporin|stigmin"
    r"|motidin|nitidin|vacain|docain|rocain|prorelin|serelin|torelin|troponin|cr[eé]atinin|bilirubin"
    r"|h(?:ae?|ä|[eé])moglobin|hemoglobin|albumin|bilirrubin|ferritin|[gt]oxin|spirin|glargin)(?:e|um|en|s|a|o)?\Z"
)
# Ends of the words of medicine, science and offices, with so many letters before them that no name ends so.
_LEARNED_END: Final = re.compile(
    r"(?:[a-zéè]{3}[oaiy]gram(?:m|me|ma|s|mas|mes|men|ms)?|[aeioy][sk]{1,2}[ck]op(?:y|ie|ia|ies|ias|ien|isch|ic)"
    r"|(?:ec|e[kc]|os|o)t[oó]m(?:y|ie|ía|ia|ies)|[a-z]{3}[oóa]log(?:y|ie|ia|ía|ist|iste|ista|ical|o|a|ue|isch)"
    r"|[a-z]{3}opat(?:hy|hie|ía|hic)|[eé]rapeut(?:a|e|in|en)?|th[eé]rap(?:y|ie|ist)|terapia"
    r"|(?:i[dk]|t[iy]|r|c|[lns]cl?e?r|kl?er|[cz]yt|crin|en|ur|mb|br|in)osis|[a-z]{3}(?:aemi[ae]|ämie)|[a-z]{5}[eé]mi[ae]"
    r"|[a-z]cardia|[a-z]kardie|tachycarde?|plegi[ae]|[a-z]{2}algi[ae]|megal(?:y|ie|ia|ía)|thyro[iï]di(?:sm|e)|tiroidismo"
    r"|car[cz]inom[aes]?|adenom[aes]?|lymphom[aes]?|sar[ck]om[aes]?|pn(?:oe|e|o)a|rrh(?:o?ea|[öé]e?)|[a-z]{4}uria|[a-z]{3}lysis"
    r"|febril[e]?|fébrile?|[a-z]{3}ated|[a-z]{4}ating|[a-z]{3}ations?|[a-z]{3}aci[óo]n(?:es)?|[a-z]{3}i[sz]ed"
    r"|iatric|pneic|tensive|tensiv[oa])\Z"
)
# And what they begin with.
_LEARNED_BEGINNING: Final = re.compile(
    r"(?:[eé]lectro|elektro|[eé]cho[ck]ard|ecocard|[ck]ardio|gastro|neuro|osteo|thrombo|h(?:ae|ä|é|e)mo[gdlrstp]|leu[ck]o[cz]"
    r"|erythro|lympho|neph?ro|hepato|pneumo|dermato|psycho|physio|fisio|kinési|im?m?uno|quimio|chimio|hyper|hypo[a-z]{4}"
    r"|hipo[tg]|tachy|taqui|brady[ck]|intra[a-z]{4}|post(?:op|men|nat|traum)|pre(?:op|nat[ai])|antibio|radio[a-z]{3}|colonosc"
    r"|koloskop|coloscop|endosc|ultras)"
)
_DERIVED: Final = re.compile(r"(?:non|post|pre|peri|inter|anti|multi|semi)(?P<stem>[^\W\d_]{6,})\Z")
HOLIDAYS: Final = words(
    "christmas xmas easter hanukkah chanukah chanukka passover diwali thanksgiving kippur hashanah haschana vesak purim "
    "sukkot shavuot kwanzaa navratri"
)
"""Nobody's name but beside another name."""
THINGS: Final = words(
    # Programs and services.
    "terraform kubernetes kubectl ansible docker jenkins jira confluence trello asana grafana prometheus postgres "
    "postgresql mysql mariadb sqlite mongodb redis nginx kafka rabbitmq elasticsearch kibana logstash hadoop snowflake "
    "databricks airflow github gitlab bitbucket salesforce hubspot zendesk servicenow shopify wordpress drupal joomla "
    "magento typo3 django laravel symfony typescript javascript kotlin haskell erlang ubuntu debian fedora centos linux "
    "unix android windows powershell chromium firefox safari outlook sharepoint onedrive dropbox photoshop excel "
    "powerpoint whatsapp youtube facebook instagram linkedin tiktok paypal netflix openai chatgpt ollama cloud "
    "slack notion figma canva zapier webex skype airtable basecamp clickup mailchimp datadog splunk tableau evernote "
    # What is eaten, and what grows.
    "tiramisu bolognese carbonara mozzarella parmesan ricotta mascarpone gorgonzola camembert roquefort espresso cappuccino "
    "prosecco chardonnay riesling guacamole hummus couscous ratatouille paella gazpacho chorizo schnitzel sauerkraut "
    "hydrangea chrysanthemum rhododendron eucalyptus magnolias geranium hortensie hortensia lavendel geranie "
    "lavender oregano marjoram cilantro chervil majoran lavande romarin origan albahaca lavanda orégano"
)
"""The same of programs, dishes and plants."""
FEASTS: Final = words("noël noel ramadan ramadán silvester")
"""Some are called so: a feast only after what no person stands after (`is_feast_after`)."""
_FEAST_BEFORE: Final = re.compile(
    r"(?:\b(?:[Mm]erry|[Hh]appy|[Jj]oyeux|[Bb]on|[Ff]êtes? de|[Vv]acances de|[Mm]archés? de|[Rr]epas de|[Vv]eille de"
    r"|[Cc]adeaux? de|[Pp]ère|[Dd]uring|[Mm]onth of|[Ll]e|[Dd]u|[Ee]l|[Dd]urante|[Dd]es|[Ii]m|[Ww]ährend)) \Z"
)
# When something is: before a feast, not before whoever is called so; where the text has more of a name, it is a name.
_ANY_FASTING: Final = (
    r"(?:\b(?:[Zz]u|[Vv]or|[Nn]ach|[Bb]is|[Ss]eit|[Bb]efore|[Aa]fter|[Uu]ntil|[Ss]ince|[Aa]round|[Aa]vant|[Aa]près|[Pp]endant"
    r"|[Dd]epuis|[Aa]ntes de|[Dd]espués de|[Hh]asta|[Dd]esde)) \Z"
)
_WHEN_BEFORE: Final = {
    "ramadan": re.compile(_ANY_FASTING),
    "ramadán": re.compile(_ANY_FASTING),
    "silvester": re.compile(r"(?:\b(?:[Zz]u|[Vv]or|[Bb]is|[Üü]ber|[Ss]eit)|(?:\A|\n|[.!?] )An) \Z"),
    "noël": re.compile(
        r"(?:\b(?:[Aa]vant|[Aa]près|[Dd]'ici|[Dd]'ici à|[Ff]ermée?s? à|[Oo]uverte?s? à|[Cc]ongés? à)|(?:\A|\n|[.!?] )À) \Z"
    ),
}
_FEAST_BEFORE_LENGTH_MAX: Final = 16
DAYS_OF_FEASTS: Final = {"whit": words("monday sunday"), "shrove": words("tuesday"), "maundy": words("thursday")}
"""By the first word of a feast, the days that it is a feast with."""
WISHES: Final = words("merry happy frohe fröhliche joyeux joyeuse feliz father yom rosh rosch")
"""Nobody's name before a feast."""
_UNIT: Final = re.compile(
    r"(?:[kqm]ilo|mega|giga|milli?|mi[ck]ro|nano|he[ck]to|[cz]enti|d[eé][cz]i)?"
    r"(?:watt?|vatio|volt(?:io)?|amp[eè]re?|amperio|newton|joule|pascal|kelvin|hertz|her[tc]io|ohm|ohmio|tesla|farad|lux"
    r"|lumen|lit(?:er|re|ro)|gram(?:m|me|o)?|met(?:er|re|ro)|mètre|bar|celsius|fahrenheit|becquerel|sievert)"
    r"(?:e?s|n)?(?:stunden?|hours?|heures?|met(?:er|re)s?)?\Z"
)


@lru_cache(maxsize=_KEPT_MAX)
def is_learned(word: str) -> bool:
    """Whether a word in small letters is made as names of medicines and other learned words are, and names are not."""
    if _MEDICINE.search(word) or _LEARNED_END.search(word) or _LEARNED_BEGINNING.match(word):
        return True
    derived = _DERIVED.match(word)
    return derived is not None and bool(
        lexicon.ordinary_words().flags(derived["stem"]) & COMMON_ANYWHERE and not lexicon.names().flags(derived["stem"])
    )


@lru_cache(maxsize=_KEPT_MAX)
def is_unit(word: str) -> bool:
    """Whether a word in small letters is a unit of measurement; many are called like who found what they measure."""
    return _UNIT.match(word) is not None


def is_feast_after(text: str, start: int, feast: str) -> bool:
    """Whether what stands before one of `FEASTS` shows that it is the feast."""
    before = max(0, start - _FEAST_BEFORE_LENGTH_MAX)
    when = _WHEN_BEFORE.get(feast)
    return _FEAST_BEFORE.search(text, before, start) is not None or (
        when is not None and when.search(text, before, start) is not None
    )
