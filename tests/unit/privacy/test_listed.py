"""Names, places, addresses, organisations and groups by lists and rules, without a model."""

import pytest

from flotilla.privacy import Entries, redact, restore_text
from flotilla.privacy.layers import find_spans
from flotilla.privacy.names.german import is_german_noun
from flotilla.privacy.spans import covered
from flotilla.testkit.personal_documents import KINDS, Document, documents
from flotilla.testkit.personal_documents.scores import scored
from flotilla.testkit.redaction_layers import structured_and_listed


def left(text: str, language: str) -> str:
    """What stays of a text, with _ for what is found."""
    cover = covered(find_spans(text, structured_and_listed(), language=language), len(text))
    return "".join("_" if covers else sign for sign, covers in zip(text, cover, strict=True))


# Names on no list, names that are words, particles, initials, elision, possessives, lower and upper case.
FOUND = [
    # What says whose name follows is no part of it.
    ("en", "Payee <Hannah Berg>, account closed."),
    ("en", "Payee: <Hannah Berg>\nDate: none\nAuthor: <Priya Okonjo>\nThe invoice went to Client."),
    ("de", "Pat. <Maria Huber> wurde gestern entlassen."),
    ("en", "Thanks to <Pat. Maria> called."),
    ("fr", "Auteur : <Enora Quellec>"),
    # Names that are words: at the beginning of a sentence, where the text has them elsewhere; after the Spanish "a".
    (
        "en",
        "We saw <Gwendolyn Price> at noon.\n\n<Price> is a nurse. Price lists are on the table; the price was high.",
    ),
    ("es", "También he pedido a <Rocío>, de aquí al lado, que llame a <Consuelo> mañana."),
    # As HTML and JSON write them.
    ("de", r"Es kam <J\u00fcrgen M\u00fcller> aus <Halle>."),
    ("en", r'{"note": "Dear Sir,\n<Priya Wexham> called."}'),
    ("fr", "Hier <Ren&eacute;e Quellec> est venue."),
    # Names of accounts and of files.
    ("en", "See /home/<priya.wexham>/notes and <Jane_Doe>_cv.pdf, but not <Maria>.docx."),
    # First letters of whom the text names, and of nobody.
    ("en", "We met <Priya Wexham>. Later <P.W.> and <P. W.> signed, but not in the U.S. or A.B. here."),
    # Names that end as medicines do.
    ("en", "We met <Ranvir>, <Maximus>, <Kai Laaksonen> and <Ann Johnson> at the station."),
    ("en", "I met <Ottoline Quennerby> at the station."),
    ("en", "Please ask <Zebulon>'s sister about it."),
    ("en", "She thanked <J. R. Wexley> and <Ludwig van Thornburgh>."),
    ("en", "Dear <Grace>, the rent is due."),
    ("en", "my name is <jane> and i lost the key"),
    ("en", "The officer, <Amrita Deshmukh>, moved to <Hexham> from <New Zealand>."),
    ("en", "It was sent to <12 Hawthorn Road, Ludlow, SY8 1AA> by mistake."),
    ("en", "We live at <4 Maple Court, Springfield, IL 62704>."),
    ("en", "He works for <Brackwell Ltd> now, and she is <Norwegian>."),
    ("en", "Kind regards,\n<Mark Long>\n"),
    ("en", "we wrote to <marta kowalczyk> in <chicago> last week"),
    ("en", "She met <Faith> and <Hope> at the bank; the Church was closed."),
    ("en", "Ask <priya> about it, or her brother, <Quill>; mr <brinkmann> knows."),
    ("en", "<Fenella Bakare> wrote. I think that <fenella> and <BAKARE> agree."),
    ("en", "He lives at <Flat 3, 27b Harrowgate Rise>, near <St Ives>."),
    ("en", "We heard from <Blue Heron Bakery> and <Severn Vale Surgery> today."),
    ("de", "Wir trafen <Konrad Sommer> im Sommer, und dann kam <Sommer> noch einmal."),
    ("de", "Sie wohnt in der <Fischerstraße 19, 2. OG links>, er in der <Steilen Stiege 1a>."),
    ("fr", "Notre fille, <Enora>, est inscrite à la <Caisse d'Épargne> depuis hier."),
    ("es", "Escribo por mi madre, <Consolación>, de la <Rambla Nova, 112, 43001 Tarragona>."),
    ("en", "<JANE DOE> AGAINST THE CITY OF <CHICAGO>"),
    ("en", "Username: <jdoe42>, also known as <@janedoe>"),
    ("de", "Der Angeklagte <Müller> bestritt die Vorwürfe, die Zeugin <Koch> nicht."),
    ("de", "Der Bewerber heißt <Tarek Al-Masri>, das heißt Arbeit für uns."),
    ("fr", "Nous avons vu <Pierre> et <Claire> hier ; la pierre était lourde."),
    ("fr", "Le docteur a opéré <Mme> <de La Tour> hier."),
    ("es", "Mi hermana <Rosa> vive con <Ángel> y con <Luz>."),
    ("en", "I live at\n<14 Elmhurst Crescent\nShrewsbury\nSY3 7QP>"),
    ("en", "It is at <83393 Redbud Drive\n KNIVSTA\n 53650>\n"),
    ("de", "Viele Grüße, <Hauke Feddersen>"),
    ("en", "the account for <sofia reyes> is locked. Thanks."),
    ("en", "The tenant is <Darnell T. Brooks, Jr>. of <Ithaca>."),
    ("de", "Betr.: <Seidel>, <Gertrud>, Antrag"),
    ("de", "Oberarzt <Dr. med.> <Farid Haddad> war da."),
    ("de", "Sie ist wohnhaft <Lange Reihe 45, 20099 Hamburg>."),
    ("de", "Die Frau sah den Unfall auf der <Rheinstraße>, nicht auf der Hauptstraße."),
    ("de", "Wohnt die noch in der <goethestraße 12>?"),
    ("fr", "Rendez-vous avec le <Pr> <Benhamou> au <27 cours Émile-Zola.> Rendez-vous demain."),
    ("fr", "Oui, il habite toujours <12 rue des lilas> ?"),
    ("es", "Vive en la <calle pelayo 33>. Gracias."),
    ("es", "La nave está en el <Polígono El Viso, nave 14, 29006 Málaga>."),
    ("es", "Derivado por la <Dra.> <Nekane Ugarte>."),
    ("de", "An das <Postfach 10 20 30, 50667 Köln>, nicht in die <Straße des 17. Juni 135>."),
    ("de", "Gestern hat <Annegret Wendmeier> angerufen und um die Rechnung gebeten."),
    ("de", "Das Gespräch mit <Frau> <Koch> fand in <Bamberg> statt."),
    ("de", "Sehr geehrter <Herr> <Dr.> <Kösloff>, vielen Dank."),
    ("de", "Die Wohnung liegt in der <Lindenstraße 12a, 80331 München>."),
    ("de", "Wir treffen uns <Am Alten Markt 3> vor dem Laden."),
    ("fr", "Nous avons rencontré <Solène Fauvonnet> hier à <Quimper>."),
    ("fr", "<Mme> <Lefebvre> habite <12 bis rue des Lilas, 69003 Lyon>."),
    ("fr", "Il a parlé d'<Odile> et de <Jean-Luc Trébac>."),
    ("es", "Ayer llamó <Íñigo Zubiaga> para hablar del contrato."),
    ("es", "La <Sra.> <Villalobos> vive en la <Calle Mayor, 12, 28013 Madrid>."),
    ("es", "Lo firmó <María de los Ángeles Cerrueles> en <Badajoz>."),
]


@pytest.mark.parametrize(("language", "marked"), FOUND)
def test_names_places_and_addresses_are_found_and_nothing_else(language: str, marked: str):
    text = marked.replace("<", "").replace(">", "")
    inside = False
    expected = ""
    for sign in marked:
        if sign in "<>":
            inside = sign == "<"
        else:
            expected += "_" if inside else sign

    assert expected == left(text, language)


ORDINARY = [
    (
        "en",
        "She takes Furosemide, Apixaban, Pembrolizumab, Imatinib, Levothyroxine, Sertraline, Clopidogrel and Semaglutide.",
    ),
    ("en", "He was given Empagliflozin, Oseltamivir and Methotrexate; Creatinine fell."),
    ("de", "Sie nimmt Levothyroxin, Venlafaxin und Pregabalin; Bisoprolol wurde abgesetzt."),
    ("fr", "On lui donne du Furosémide, du Paracétamol et de la Prégabaline."),
    ("es", "Toma Metformina, Losartán, Fluoxetina y Ciclosporina."),
    ("en", "The Board approved the budget, and nobody objected. However, the Works Council asked for more time."),
    ("en", "Will the house be sold? May we see it? Long queues were reported. Hope this helps."),
    ("en", "Please send the PDF and the JSON file via HTTP; the API returns HTML."),
    ("en", "Section 4 and Chapter 12 are on page 7; see Figure 3."),
    (
        "de",
        "Die Geschäftsführung hat den Jahresabschluss geprüft und die Vertragsunterlagen an die Rechtsabteilung gegeben.",
    ),
    ("de", "Der Mietvertrag, die Nebenkostenabrechnung und das Übergabeprotokoll liegen dem Schreiben bei."),
    ("de", "Für Rückfragen zur Wärmepumpenförderung steht die Energieberatungsstelle zur Verfügung."),
    (
        "fr",
        "Le Comité a examiné le rapport. La Direction générale n'a pas répondu, mais le service juridique l'a fait.",
    ),
    ("fr", "J'ai reçu la facture. Aujourd'hui, il n'y a pas de réunion. Pierre après pierre, le mur avance."),
    ("es", "La Junta aprobó el presupuesto. El Ayuntamiento no respondió, pero el servicio jurídico sí lo hizo."),
    ("en", "BP 142/91, HR 88, SpO2 97 %. Troponin was normal; she takes Lisinopril and Atorvastatin daily."),
    ("en", "Python 3.11 and PostgreSQL 16 are required, with 16 GB; a TimeoutError(1) is raised. An X-ray was taken."),
    ("en", '{"version": "3.2.1", "retries": 3, "status": "ok", "build": 88213}'),
    ("de", "Die Behandlung mit Bisoprolol und Ramipril begann. NYHA III."),
    ("es", "Consuelo no hay. Luz y agua están incluidas en el alquiler del piso."),
]


@pytest.mark.parametrize(("language", "text"), ORDINARY)
def test_ordinary_text_is_left_alone(language: str, text: str):
    assert text == left(text, language)


def test_a_month_with_its_year_is_a_date_and_no_street():
    text = "It was signed on 14 March 2025, and she lives at Kirchplatz 12."
    spans = find_spans(text, structured_and_listed(), language="en")

    assert [("14 March 2025", "DATE")] == [(text[span.start : span.end], span.type) for span in spans][:1]


def test_german_nouns_come_apart():
    assert all(
        map(is_german_noun, ("Nebenkostenabrechnung", "Wärmepumpenförderung", "Übergabeprotokoll", "Betroffenheit"))
    )
    assert not any(map(is_german_noun, ("Wendmeier", "Kösloff", "Thornburgh", "Quennerby")))


@pytest.fixture(scope="module")
def made() -> list[Document]:
    return list(documents(seed=7, each=2))


def test_made_up_documents_keep_next_to_nothing(made: list[Document]):
    """Every language, by character; checksummed values without exception."""
    for language in ("en", "de", "fr", "es"):
        score = scored((one for one in made if one.language == language), structured_and_listed())

        assert score.recall > 0.97
        assert score.precision > 0.93
        for name in ("IBAN", "CARD", "ID", "EMAIL"):
            assert score.by_type[name][0] == score.by_type[name][1]


def test_every_document_comes_back_as_it_was(made: list[Document]):
    assert {one.kind for one in made} == set(KINDS)
    for number, document in enumerate(made):
        for start, end, _ in document.spans:
            assert document.text[start:end].strip()
        redacted = redact(
            document.text, Entries.empty(f"case-{number}"), structured_and_listed(), language=document.language
        )
        assert document.text == restore_text(redacted.text, redacted.entries)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "The echocardiogram was normal. Echocardiogram and Electrocardiogram were repeated after Christmas."),
        ("en", "Decompensated heart failure. Decompensated cirrhosis. Colonoscopy and Gastroscopy were unremarkable."),
        ("en", "Started on digoxin and aspirin; Digoxin level normal. Aspirin was stopped, Insulin Glargine given."),
        ("en", "Hypothyroidism, Sarcoidosis and Adenocarcinoma. Afebrile, Normotensive, Nonsmoker. Intubated at once."),
        ("en", "Postmenopausal bleeding. Preoperative assessment. The Physiotherapist was informed."),
        ("en", "A happy Christmas, and a happy Hanukkah! We close for Easter and Thanksgiving."),
        ("en", "It takes 4 Amperes. We use PostgreSQL, MySQL and LiteLLM with 16 GiB."),
        (
            "de",
            "Im 3. Stock ist das Lager, im 2. Stock links die Wohnung. Die Leistung beträgt 12 Kilowatt und 3 Newtonmeter.",
        ),
        ("de", "Echokardiogramm und Koloskopie unauffällig. Digoxin wurde abgesetzt. Ferritin niedrig."),
        (
            "fr",
            "Un comprimé toutes les 12 heures, pendant 2 heures. Échocardiogramme normal. Décompensation. Digoxine arrêtée.",
        ),
        ("en", "We moved our services to Terraform and Kubernetes, then restarted Nginx, Redis and Jenkins."),
        ("en", "Merry Christmas and a Happy Hanukkah! The office is closed during Ramadan."),
        ("en", "Send it on Slack, before Ramadan. On Yom Kippur we rest. There is Lavender and Oregano."),
        ("de", "An Silvester ist zu, zu Silvester auch. Vor Ramadan und zu Ramadan. Schreib es in Slack."),
        ("fr", "À Noël nous sommes fermés, avant Noël aussi. Envoyez-le par Slack."),
        ("es", "Antes de Ramadán y en Semana Santa. Lo envié por Slack."),
        ("en", "She studied at the Institute of Physics. The Supreme Court and the Court of Appeal agreed."),
        ("en", "We ate Tiramisu and planted a Hydrangea and a Chrysanthemum."),
        ("de", "Wir nutzen Terraform und Kubernetes in der Cloud."),
        ("fr", "Joyeux Noël à tous ! Pendant le Ramadan, nous utilisons Terraform."),
        ("es", "Durante el Ramadán usamos Terraform y Kubernetes."),
        ("es", "El Tribunal Supremo resolvió."),
        ("fr", "Coloscopie et Hypothyroïdie. Ferritine basse. 12 Kilowatts et 3 Ampères."),
        (
            "es",
            "Ecocardiograma normal. Digoxina y Aspirina suspendidas. El Cardiólogo y el Fisioterapeuta fueron informados.",
        ),
        ("es", "Colonoscopia sin hallazgos. Hipotiroidismo. Bilirrubina y Ferritina. 12 Kilovatios y 3 Amperios."),
    ],
)
def test_words_of_medicine_units_holidays_and_products_are_no_names(language: str, text: str):
    assert text == left(text, language)


@pytest.mark.parametrize(
    ("language", "text", "names"),
    [
        ("de", "Silvester hat angerufen. Der Brief geht an Silvester, und Herr Slack kommt.", ["Silvester", "Slack"]),
        ("de", "Wir reden zu Silvester über Silvester Quandt.", ["Silvester", "Silvester Quandt"]),
        ("fr", "Le livre est donné à Noël.", ["Noël"]),
        ("en", "Basil called Whit, and Jane Slack was there.", ["Basil", "Whit", "Jane Slack"]),
        ("en", "We met Noel Christmas and Christmas Humphreys.", ["Noel Christmas", "Christmas Humphreys"]),
        ("en", "She asked JeanDUPONT about it.", ["JeanDUPONT"]),
        ("en", "She asked Jane Redis and Noël about it.", ["Jane Redis", "Noël"]),
        ("fr", "Le dossier est pour Noël Quellec, et Ramadan viendra.", ["Noël Quellec", "Ramadan"]),
        ("en", "They live at 12 High Court and at 7 Elm Court, now.", ["12 High Court", "7 Elm Court"]),
        ("en", "Reviewed with Curtis Keating and Eufemia Nation.", ["Curtis Keating", "Eufemia Nation"]),
        ("en", "Of 30 Isaac Newton spoke last.", ["Isaac Newton"]),
        ("de", "Im Stock wohnt Karl Stock.", ["Karl Stock"]),
        ("en", "In row 12 Gray sits beside Koloskov and Mr Prenatt.", ["Gray", "Koloskov", "Prenatt"]),
        ("fr", "Il vient à 12 heures.", ["12 heures"]),
    ],
)
def test_what_is_called_like_them_is_found(language: str, text: str, names: list[str]):
    found = [text[span.start : span.end] for span in find_spans(text, structured_and_listed(), language=language)]

    assert set(names) <= set(found), found
