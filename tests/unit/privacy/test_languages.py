"""Which language a text is in."""

import pytest

from flotilla.privacy import language_of
from flotilla.privacy.errors import LanguageError
from flotilla.privacy.languages import served_language
from flotilla.testkit.personal_documents import documents

SENTENCES = {
    "en": "We have received your letter of last week and will answer it as soon as we can.",
    "de": "Wir haben Ihr Schreiben erhalten und werden es beantworten, wenn die Unterlagen da sind und geprüft wurden.",
    "fr": "Nous avons bien reçu votre lettre de la semaine dernière et nous y répondrons dès que possible.",
    "es": "Hemos recibido su carta de la semana pasada y la contestaremos en cuanto nos sea posible.",
    "it": "Abbiamo ricevuto la sua lettera della settimana scorsa e le risponderemo non appena possibile, come di consueto.",
    "pt": "Recebemos a sua carta da semana passada e vamos responder o mais depressa possível, com os documentos em anexo.",
    "nl": "Wij hebben uw brief van vorige week ontvangen en zullen deze zo snel mogelijk beantwoorden.",
    "pl": "Otrzymaliśmy pański list z ubiegłego tygodnia i odpowiemy na niego tak szybko, jak to jest możliwe.",
    "sv": "Vi har fått ditt brev från förra veckan och kommer att svara på det så snart vi kan.",
    "tr": "Geçen haftaki mektubunuzu aldık ve en kısa sürede bu konuda size bir cevap vereceğiz, ne kadar sürerse sürsün.",
    "cyrillic": "Мы получили ваше письмо на прошлой неделе.",
    "greek": "Λάβαμε την επιστολή σας την περασμένη εβδομάδα.",
    "cjk": "我们上周收到了您的来信。",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_is_in_its_language(language: str):
    assert language == language_of(SENTENCES[language])


def test_documents_with_names_and_numbers_are_in_their_language():
    """Tables and chats may be too short to tell; none is taken for another language."""
    for document in documents(seed=3, each=2):
        assert language_of(document.text) in {document.language, None}
        if document.kind in {"letter", "contract", "report", "clinical note"}:
            assert document.language == language_of(document.text)


@pytest.mark.parametrize(
    ("text", "told", "given"),
    [
        (SENTENCES["de"], None, "de"),
        (SENTENCES["de"], "de-AT", "de"),
        (SENTENCES["it"], "any", "any"),
        ("415-555-2671", None, "any"),
        ("", None, "any"),
    ],
)
def test_what_the_layers_are_given(text: str, told: str | None, given: str):
    assert given == served_language(text, told)


@pytest.mark.parametrize(
    ("text", "told"), [(SENTENCES["it"], None), (SENTENCES["cjk"], None), ("x", "it"), ("x", "\n\n")]
)
def test_what_the_lists_do_not_serve_is_refused(text: str, told: str | None):
    with pytest.raises(LanguageError, match="en, de, fr and es"):
        served_language(text, told)
