"""
What a label says of the value that it stands for: a column's heading, a JSON key, a field of a form, an XML element.

A label counts when all of its words are known: the last known group of them names the type, the others only say whose
value it is ("customer's home phone", "Geburtsdatum des Patienten"). `file name` is none, since nobody is called so.
"""

import re
from functools import lru_cache
from typing import Final

from flotilla.privacy.values.regions import words

LABEL_LENGTH_MAX: Final = 60
LABEL_WORDS_MAX: Final = 6
LABELS_KEPT_MAX: Final = 4_096

# In lower case, commas between. What these name may be no person: a product, a team, a task.
_PERHAPS: Final = (
    "name,names,nombre,nombres,nom,noms,first,last,contact,employee,manager,supervisor,customer,client,patient,tenant,"
    "landlord,applicant,candidate,student,pupil,teacher,doctor,physician,nurse,guest,passenger,driver,owner,author,"
    "recipient,sender,attendee,attendees,participant,witness,assignee,reporter,requester,agent,lawyer,spouse,husband,"
    "wife,partner,father,mother,child,children,son,daughter,guardian,parent,insured,kunde,kundin,patientin,mieter,"
    "mieterin,vermieter,vermieterin,mitarbeiter,mitarbeiterin,vorgesetzter,bewerber,bewerberin,schüler,schülerin,lehrer,"
    "arzt,ärztin,hausarzt,teilnehmer,teilnehmerin,zeuge,zeugin,ehepartner,ehemann,ehefrau,vater,mutter,kind,kinder,sohn,"
    "tochter,versicherter,bearbeiter,bearbeiterin,titulaire,employé,employée,salarié,salariée,responsable,patiente,"
    "locataire,bailleur,candidate,élève,étudiant,étudiante,médecin,témoin,conjoint,conjointe,époux,épouse,père,mère,"
    "enfant,fils,fille,assuré,assurée,titular,empleado,empleada,trabajador,trabajadora,encargado,paciente,cliente,"
    "inquilino,inquilina,arrendador,arrendatario,candidato,candidata,alumno,alumna,médico,médica,testigo,cónyuge,marido,"
    "esposa,esposo,padre,madre,hijo,hija,asegurado,asegurada,school,university,hospital,bank,business,firm,school,"
    "location,office,branch,standort,filiale,ort,stadt,city,race,sex,flat,voie,pin,secret,token,clave,login,handle,user,owner"
)
_LISTS: Final = {
    "PERSON": (
        "first name,firstname,last name,lastname,full name,fullname,given name,given names,family name,surname,"
        "forename,middle name,maiden name,birth name,nickname,display name,legal name,preferred name,fname,lname,"
        "contact person,next of kin,emergency contact,account holder,cardholder,card holder,beneficiary,signatory,"
        "signature,signed by,salesperson,gp,payee,payer,policyholder,vorname,vornamen,nachname,familienname,zuname,"
        "rufname,geburtsname,mädchenname,vollständiger name,vor- und nachname,ansprechpartner,ansprechpartnerin,"
        "kontaktperson,kontoinhaber,kontoinhaberin,karteninhaber,begünstigter,empfänger,empfängerin,absender,"
        "absenderin,unterschrift,sachbearbeiter,sachbearbeiterin,angehörige,angehöriger,versicherungsnehmer,"
        "antragsteller,antragstellerin,rechnungsempfänger,auftraggeber,auftraggeberin,prénom,prénoms,prenom,"
        "nom de famille,nom de naissance,nom complet,nom et prénom,patronyme,nom d'usage,personne à contacter,"
        "bénéficiaire,destinataire,expéditeur,signataire,demandeur,apellido,apellidos,primer apellido,"
        "segundo apellido,nombre completo,nombre y apellidos,persona de contacto,beneficiario,beneficiaria,"
        "destinatario,remitente,firma,firmado por,solicitante"
    ),
    "ORG": (
        "company,company name,employer,kasse,organisation,organization,org,business,firm,school,university,hospital,"
        "institution,insurer,bank,bank name,firma,firmenname,unternehmen,arbeitgeber,betrieb,schule,universität,"
        "krankenhaus,krankenkasse,versicherung,société,entreprise,raison sociale,employeur,école,établissement,banque,"
        "mutuelle,empresa,razón social,empleador,colegio,universidad,aseguradora,banco,organisme,organización"
    ),
    "ADDRESS": (
        "address,addr,adr,street,street name,street address,address line,line1,line2,address1,address2,house number,"
        "house no,zip,zipcode,zip code,postcode,post code,postal code,apartment,flat,residence,"
        "adresse,anschrift,straße,strasse,straße und hausnummer,str,hausnummer,hausnr,plz,postleitzahl,wohnadresse,"
        "wohnanschrift,lieferadresse,rechnungsadresse,wohnhaft,wohnhaft in,plz ort,plz / ort,rue,code postal,cp,domicile,"
        "adresse postale,voie,logement,demeurant,dirección,direccion,domicilio,calle,código postal,codigo postal,vivienda"
    ),
    "PLACE": (
        "city,town,village,municipality,county,district,birthplace,place of birth,city of birth,hometown,"
        "location,office,branch,standort,filiale,ort,wohnort,stadt,gemeinde,geburtsort,landkreis,ville,"
        "commune,localité,lieu de naissance,"
        "ville de naissance,ciudad,población,poblacion,localidad,municipio,provincia,lugar de nacimiento"
    ),
    "PHONE": (
        "phone,phones,telephone,tel,mobile,cell,cellphone,fax,phone number,telephone number,mobile number,cell phone,"
        "whatsapp,landline,telefon,telefonnummer,mobil,mobilnummer,handy,handynummer,festnetz,rufnummer,telefax,"
        "durchwahl,téléphone,tél,mobile,portable,téléphone portable,numéro de téléphone,télécopie,"
        "teléfono,telefono,móvil,movil,número de teléfono,celular"
    ),
    "EMAIL": "email,e-mail,mail,email address,e-mail address,mail adresse,emailadresse,courriel,correo,correo electrónico",
    "DATE": (
        "date of birth,dob,birth date,birthdate,birthday,bday,born,born on,year of birth,birth year,date of death,"
        "admission date,discharge date,hire date,appointment,geburtsdatum,geburtstag,geburtsjahr,geb,geb.,geboren,"
        "geboren am,geb. am,todestag,eintrittsdatum,aufnahmedatum,date de naissance,né le,née le,naissance,"
        "année de naissance,fecha de nacimiento,nacimiento,nacido,nacida,año de nacimiento,ddn,date,datum,fecha"
    ),
    "AGE": "age,alter,âge,edad",
    "GROUP": (
        "gender,sex,nationality,citizenship,religion,ethnicity,race,marital status,geschlecht,nationalität,"
        "staatsangehörigkeit,konfession,familienstand,sexe,nationalité,état civil,sexo,género,nacionalidad,religión,"
        "estado civil"
    ),
    "ID": (
        "ssn,social security number,social security no,social security,national id,national insurance number,ni number,"
        "nino,nhs number,nhs no,passport,passport number,passport no,driving licence,driver's license,driver license,"
        "license number,licence number,id card,id number,identity card,medicare number,aadhaar,"
        "sozialversicherungsnummer,versichertennummer,krankenversichertennummer,ausweisnummer,personalausweis,"
        "personalausweisnummer,reisepass,reisepassnummer,führerschein,führerscheinnummer,numéro de sécurité sociale,"
        "nir,numéro de passeport,passeport,carte d'identité,dni,nie,dni/nie,pasaporte,número de pasaporte,"
        "número de la seguridad social,nss,documento,cédula"
    ),
    "TAX": (
        "tax id,tax number,tin,vat number,vat id,vat no,steuernummer,steuer-id,steueridentifikationsnummer,ust-id,"
        "ust-idnr,nif,cif,nif/cif,numéro fiscal,siret,siren,numéro de tva"
    ),
    "ACCOUNT": (
        "account number,account no,account,bank account,sort code,routing number,iban,bic,swift,customer number,"
        "customer no,customer id,client number,client id,member number,member id,membership number,employee number,"
        "employee id,personnel number,staff id,student id,policy number,policy no,contract number,user name,username,"
        "user id,login,handle,kontonummer,konto,blz,bankleitzahl,kundennummer,kundennr,mitgliedsnummer,personalnummer,"
        "matrikelnummer,vertragsnummer,versicherungsnummer,versicherungsscheinnummer,benutzername,benutzer,"
        "numéro de compte,compte,rib,numéro client,numéro de client,numéro d'adhérent,matricule,numéro de contrat,"
        "numéro de police,identifiant,número de cuenta,cuenta,número de cliente,número de socio,número de empleado,"
        "número de póliza,número de contrato,usuario"
    ),
    "RECORD": (
        "mrn,medical record number,patient number,patient id,patient no,case number,case no,case id,file number,"
        "file no,docket number,claim number,claim no,patientennummer,fallnummer,aktenzeichen,az,aktennummer,"
        "schadennummer,schadensnummer,geschäftszeichen,ipp,numéro de dossier,numéro de patient,numéro de sinistre,"
        "nhc,historia clínica,número de historia,expediente,número de expediente,número de siniestro"
    ),
    "CARD": (
        "card number,card no,credit card,credit card number,pan,kreditkartennummer,kreditkarte,numéro de carte,"
        "número de tarjeta"
    ),
    "PLATE": (
        "license plate,licence plate,number plate,registration plate,plate,vin,kennzeichen,fahrgestellnummer,"
        "immatriculation,plaque,matrícula"
    ),
    "SECRET": (
        "password,passwd,pwd,passphrase,pin,pin code,secret,api key,token,access token,passwort,kennwort,"
        "mot de passe,code pin,contraseña,clave"
    ),
    "IP": "ip,ip address,ip-adresse,adresse ip,dirección ip",
}
_ACCENTS: Final = str.maketrans("áàâäéèêëíìîïóòôöúùûüñç", "aaaaeeeeiiiioooouuuunc")
_TYPES: Final = {
    written: name
    for name, listed in _LISTS.items()
    for label in listed.split(",")
    for written in (label.translate(_ACCENTS), label)
}
_UNSURE: Final = frozenset(written for label in _PERHAPS.split(",") for written in (label, label.translate(_ACCENTS)))
# What may stand beside a label without making it another one.
_BESIDE: Final = words(
    "s the your my our his her their of a an primary secondary main other current previous former home work office "
    "private personal business billing shipping delivery mailing permanent postal contact emergency customer client "
    "patient employee user member tenant applicant account holder legal official registered number no nr num 1 2 3 "
    "der die das des dem den ihr ihre ihren mein meine unser aktuelle aktueller aktuelles frühere früherer private "
    "privat geschäftlich dienstlich kunde kunden patienten mitarbeiter mitarbeiters mieters versicherten nummer und "
    "le la les l du de d votre vos mon ma notre nos son sa actuel actuelle principal principale personnel personnelle "
    "professionnel professionnelle client patient salarié locataire numéro n et complète complet "
    "el los las del su sus mi tu actual personal particular profesional empleado número y completo completa"
)
_APART: Final = re.compile(r"\s*[/,]\s*")
_WORD: Final = re.compile(r"[^\W\d_]\.?[^\W\d_A-ZÄÖÜÉ]+|[A-ZÄÖÜÉ]+(?![a-zäöüéè])|[^\W\d_]|\d")


@lru_cache(maxsize=LABELS_KEPT_MAX)
def type_of_label(label: str) -> tuple[str, bool] | None:
    """
    The type of what a label stands for, and whether the label may be anything's ("name"); None for any other label.

    Args:
        label: As it is written: `Date of birth`, `dateOfBirth`, `date_of_birth`, `DATE-OF-BIRTH`.
    """
    if len(label) > LABEL_LENGTH_MAX:
        return None
    plain = label.strip(" \t\"'*:#.").lower()
    known = _known(plain)
    if known is not None:
        return known
    if "/" in plain or "," in plain:
        # "Straße/Nr.", "Parent / guardian", "Nachname, Vorname": the first says it, where the others say something too.
        every = [type_of_label(part) for part in _APART.split(label) if part.strip(" .").lower() not in _BESIDE]
        if len(every) > 1 or len(_APART.split(label)) > 1:
            return every[0] if every and all(every) else None
    parts = [part.lower() for part in _WORD.findall(label.replace("_", " "))]
    if not parts or len(parts) > LABEL_WORDS_MAX:
        return None
    return _known(" ".join(parts)) or _known("".join(parts)) or _among(parts)


def is_label(word: str) -> bool:
    """Whether a word in small letters is a whole label."""
    return word in _TYPES or word in _UNSURE


def _known(label: str) -> tuple[str, bool] | None:
    unsure = label in _UNSURE
    name = _TYPES.get(label, "PERSON" if unsure else None)
    return None if name is None else (name, unsure)


def _among(parts: list[str]) -> tuple[str, bool] | None:
    """The type of the longest, last known group of words where nothing but usual words stands around it."""
    for length in range(len(parts) - 1, 0, -1):
        for start in range(len(parts) - length, -1, -1):
            known = _known(" ".join(parts[start : start + length]))
            beside = (*parts[:start], *parts[start + length :])
            if known is not None and all(part in _BESIDE or part in _UNSURE for part in beside):
                # "Customer name" is somebody's, or a company's: a name either way.
                return known[0], False
    return None
