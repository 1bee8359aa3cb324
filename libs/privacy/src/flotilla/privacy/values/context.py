"""Words that say what a number is, in English, German, French and Spanish."""

import re
from bisect import bisect_left
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from flotilla.privacy.values.outline import Outline
from flotilla.privacy.values.regions import places_of_words, words

CONTEXT_LENGTH_MAX: Final = 48

# In lower case, commas between. Compounds with "number" (Kontonummer, Kundennr.) are taken apart before they are
# looked up.
_LISTS: Final = {
    "CARD": (
        "card,cards,cvv,cvc,credit card,debit card,bank card,visa,mastercard,amex,cc,kreditkarte,kreditkarten,karte,karten,"
        "carte,cartes,carte bancaire,carte bleue,carte de crédit,tarjeta,tarjetas,tarjeta de crédito"
    ),
    "ACCOUNT": (
        "account,accounts,acct,a/c,routing,sort code,konto,kto,blz,bankleitzahl,compte,rib,cuenta,customer,client,"
        "member,membership,kunden,kunde,kd,mitglied,mitglieds,mitgliedsnummer,cliente,clientes,abonné,policy,"
        "police,póliza,poliza,versicherung,versicherungs,versicherungsschein,versicherungsscheins,contract,vertrag,"
        "vertrags,contrat,contrato,subscriber,loan,darlehen,darlehens,crédit,employee,personal,mandat,mandats,"
        "depot,staff,payroll,matricule,empleado,buchungscode,pnr,booking ref,frequent flyer,vielflieger,badge,collar,warrant,"
        "zähler,zählernummer,compteur,contador,meter,iban,invoice,rechnung,rechnungs,facture,factura,booking,buchung,buchungs,reservation,réservation,reserva,"
        "bestellung,bestell,commande,pedido,ticket"
    ),
    "RECORD": (
        "mrn,medical record,record,patient,patienten,patientin,chart,case,file,docket,akte,akten,aktenzeichen,az,"
        "fall,dossier,affaire,historia,historia clínica,expediente,paciente,nhc,ipp,encounter,specimen,accession,"
        "claim,schaden,schadens,schadenmeldung,schadensmeldung,siniestro,parte de accidente,autos,rg,"
        "sinistre,ref,reference,referenz,référence,referencia,geschäftszeichen"
    ),
    "ID": (
        "passport,reisepass,reisepass-,pass,passeport,pasaporte,licence,license,driver's license,driver license,"
        "drivers license,driving licence,dl,führerschein,fahrerlaubnis,permis,permis de conduire,carnet,"
        "carnet de conducir,dni,nie,ssn,social security,social,sozialversicherung,sozialversicherungs,sv,rvnr,"
        "rentenversicherung,rentenversicherungs,sécurité sociale,seguridad social,nss,national insurance,nino,nhs,"
        "nir,insee,personalausweis,personalausweis-,ausweis,identity,identity card,id card,carte d'identité,"
        "d'identité,cni,cédula,cedula,curp,krankenversicherten,krankenversicherung,kvnr,versicherten,medicare,"
        "medicaid,npi,dea,aadhaar,pesel,bsn,ahv,avs,tfn,sin,cpf,id,identification"
    ),
    "TAX": (
        "vat,tva,ust,ust-id,ust-idnr,umsatzsteuer,umsatzsteuer-id,steuer,steuer-id,steueridentifikations,tax,"
        "taxpayer,tin,itin,ein,utr,nif,cif,iva,siret,siren,fiscal,fiscale,abn,steuernummer"
    ),
    "PHONE": (
        "phone,phones,telephone,tel,telefon,cell,cellphone,mobile,mobil,mobilfunk,handy,fax,call,dial,text,sms,"
        "whatsapp,ruf,rufnummer,rückruf,durchwahl,téléphone,tél,portable,appel,appelez,appeler,teléfono,telefono,"
        "móvil,movil,llame,llamar,llama,contact,reach,reach me,answering,ext,extension,hotline,helpline"
    ),
    "PLATE": (
        "plate,plates,license plate,licence plate,number plate,registration,vin,kennzeichen,immatriculation,plaque,"
        "matrícula,matricula,fahrgestell,fin"
    ),
}
_KINDS: Final = {words: kind for kind, listed in _LISTS.items() for words in listed.split(",")}
_LAST_WORDS: Final = frozenset(words.rpartition(" ")[2] for words in _KINDS)
_WORDS_MAX: Final = 3
# What may stand between the word and its number.
_BETWEEN: Final = words(
    "number numbers num nummer nummern nr nrn no nos n n° nº numéro número numero code # is are was ist lautet est es "
    "of at on to ending in unter au al de el la le les my me us them him her the meine mein mon ma mi new old : = - ( "
    "der die das with von"
)
_TOKEN: Final = re.compile(r"[^\W_]+(?:[/'-][^\W_]+)*-?|[#:=(°º-]")
_COMPOUND: Final = re.compile(r"(?:s?-?(?:nummern?|nr)|s)\Z")
_BETWEEN_MAX: Final = 7
_STEMS_KEPT_MAX: Final = 4_096
_LETTERS: Final = re.compile(r"[^\W\d_]+")
# The longest part of each, the last one of those: "a" of "a/c" is in every text.
_LAST_LETTERS: Final = frozenset(max(reversed(_LETTERS.findall(last)), key=len) for last in _LAST_WORDS)
_SENTENCE_END: Final = re.compile(r"[.!?;\n]\s+(?=[A-ZÄÖÜÉÁ])|\n\n")


def announcing(outline: Outline) -> list[int]:
    """Where words begin that may say what a number is: most numbers have none near them, and need not be looked at."""
    told = filter(_may_announce, outline.words)
    return sorted(start for start, _ in places_of_words(outline.lower, told))


@lru_cache(maxsize=_STEMS_KEPT_MAX)
def _may_announce(word: str) -> bool:
    return word in _LAST_LETTERS or _COMPOUND.sub("", word) in _LAST_LETTERS


def words_before(text: str, start: int, announcing: Sequence[int]) -> list[str]:
    """
    The words and signs of the same sentence shortly before a place, in small letters.

    Args:
        text: What is read.
        start: The place.
        announcing: Where words begin that may say what a number is; where none does shortly before the place, nothing is
            given.
    """
    last = bisect_left(announcing, start) - 1
    if last < 0 or announcing[last] < start - CONTEXT_LENGTH_MAX:
        return []
    before = text[max(0, start - CONTEXT_LENGTH_MAX) : start]
    for end in _SENTENCE_END.finditer(before):
        if not before[: end.start()].lower().endswith(("nr", "no", "tel", "tél", "num", "ref")):
            before = before[end.end() :]
            break
    return _TOKEN.findall(before.lower())


def kind_before(tokens: list[str]) -> str | None:
    """The type that the words directly before a place announce."""
    for back in range(min(len(tokens), _BETWEEN_MAX + 1)):
        end = len(tokens) - back
        kind = _announced(tokens, end)
        if kind is not None:
            return kind
        if tokens[end - 1] not in _BETWEEN:
            return None
    return None


def kind_near(tokens: list[str]) -> str | None:
    """The type that the last of the words before a place announces that announces any."""
    for end in range(len(tokens), 0, -1):
        kind = _announced(tokens, end)
        if kind is not None:
            return kind
    return None


@lru_cache(maxsize=_STEMS_KEPT_MAX)
def _stem(last: str) -> str | None:
    """A word without the number that it is one of; None where none of the lists has it as a last word."""
    stem = _COMPOUND.sub("", last)
    return stem if last in _LAST_WORDS or stem in _LAST_WORDS else None


def _announced(tokens: list[str], end: int) -> str | None:
    """The type that the words up to one announce, the most words first."""
    last = tokens[end - 1]
    stem = _stem(last)
    if stem is None:
        return None
    for count in range(min(_WORDS_MAX, end), 0, -1):
        before = "".join(f"{word} " for word in tokens[end - count : end - 1])
        kind = _KINDS.get(before + last) or _KINDS.get(before + stem)
        if kind is not None:
            return kind
    return None
