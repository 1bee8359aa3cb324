"""
Words that speak for common labels of business, so that a label's bare name is enough.

A group serves every label whose name holds one of its names. `!good` is "good" after a negation.
"""

from typing import Final

from flotilla.inference.engines.embedded.text import stem

_GROUPS: Final = {
    "billing invoice invoices payment payments finance accounting accounts rechnung zahlung buchhaltung facture": """
        invoice invoices bill billed billing charge charged charges charging payment payments pay paid unpaid
        overdue amount due fee fees price tax vat receipt reminder account balance debit credit card bank
        transfer iban rechnung zahlung betrag überweisung mahnung konto lastschrift facture paiement montant
        factura pago""",
    "refund refunds return returns erstattung rückgabe": """
        refund refunded refunds reimburse reimbursed reimbursement money back return returned returns exchange
        credit duplicate twice overcharged erstattung rückerstattung zurück rückgabe retoure umtausch
        remboursement""",
    "contract contracts agreement agreements vertrag contrat contrato nda": """
        contract agreement party parties hereby hereinafter clause clauses term terms termination effective
        obligations liability governing law shall signed undersigned whereas confidential confidentiality
        warranty indemnify vertrag vereinbarung vertragspartner laufzeit kündigung paragraph contrat parties""",
    "legal law lawsuit dispute recht rechtlich": """
        legal law lawyer attorney court lawsuit claim claims sue litigation plaintiff defendant judge ruling
        statute compliance liability damages settlement subpoena anwalt gericht klage urteil haftung avocat
        tribunal""",
    "complaint complaints beschwerde reklamation réclamation": """
        complaint complain complained dissatisfied disappointed disappointing unacceptable unhappy angry
        frustrated terrible poor worst damaged broken defective faulty wrong late delay rude apology
        compensation refund twice nobody lawyer !satisfied !happy !work beschwerde reklamation unzufrieden
        enttäuscht beschädigt defekt verspätet mangel réclamation déçu""",
    "support technical technik it incident bug bugs helpdesk störung": """
        error errors bug crash crashes crashed login password reset install installation update upgrade software
        app application server system screen website page click button browser network connection connect outage
        offline slow freeze bluetooth printer vpn troubleshoot !work !load !start !open !connect fehler absturz
        anmeldung passwort störung netzwerk erreur mot connexion""",
    "account accounts login access konto": """
        account login log sign signed password username profile access locked unlock reset verify verification
        email authentication register registration konto passwort anmeldung zugang gesperrt compte""",
    "sales lead leads offer quote quotation inquiry enquiry anfrage angebot vertrieb devis": """
        quote quotation offer price pricing interested interest purchase buy buying order demo trial discount
        license licenses product products catalogue customer customers proposal quantity inquiry enquiry deal
        angebot anfrage preis kaufen bestellen interesse rabatt devis prix commande""",
    "order orders purchase bestellung auftrag commande": """
        order ordered orders purchase purchased item items quantity cart confirmation sku product delivery
        bestellung bestellt auftrag artikel menge lieferung commande article""",
    "shipping delivery logistics shipment lieferung versand livraison": """
        ship shipped shipping shipment deliver delivered delivery parcel package courier tracking track carrier
        customs arrived arrive warehouse freight late delay !arrive !deliver lieferung versand paket sendung
        zustellung spediteur livraison colis envío paquete""",
    "cancellation cancel termination kündigung résiliation churn": """
        cancel cancelled canceled cancellation terminate termination end subscription membership unsubscribe
        notice stop quit renew kündigen kündigung vertragsende abbestellen résilier résiliation annuler""",
    "application applications job jobs recruiting hr cv resume bewerbung personal candidature career careers": """
        apply application applicant position vacancy resume cv cover letter experience skills interview hire
        hiring candidate degree university employer career salary references bewerbung stelle lebenslauf
        erfahrung vorstellungsgespräch gehalt candidature poste employee vacation leave onboarding payroll""",
    "medical health clinical patient medizin medizinisch": """
        patient diagnosis diagnosed symptom symptoms treatment treated doctor physician hospital clinic
        medication mg dose therapy blood pain surgery prescription prescribed disease chronic exam examination
        patientin befund diagnose behandlung arzt krankenhaus médecin traitement""",
    "insurance versicherung assurance": """
        insurance insured policy policyholder claim claims premium coverage cover damage accident adjuster
        deductible versicherung police schaden schadensfall prämie assurance sinistre""",
    "report reports bericht rapport": """
        report quarter quarterly annual results revenue figures growth increase decrease analysis findings
        summary table overview bericht quartal umsatz ergebnis wachstum analyse rapport trimestre""",
    "meeting meetings minutes appointment calendar scheduling protokoll termin besprechung": """
        meeting minutes agenda attendees attended participants present discussed action items next schedule
        scheduled appointment calendar call conference invite reschedule available protokoll besprechung termin
        teilnehmer tagesordnung réunion rendez""",
    "privacy gdpr data dsgvo datenschutz": """
        privacy gdpr personal data consent delete deletion erase erasure subject access request controller
        processor retention breach dsgvo datenschutz einwilligung löschen auskunft données rgpd""",
    "security phishing fraud betrug sicherheit": """
        security breach attack attacker malware virus phishing suspicious fraud fraudulent unauthorized
        unauthorised stolen hacked vulnerability exploit leaked ransomware compromised betrug sicherheit angriff
        verdächtig""",
    "spam junk advertising werbung newsletter marketing promotion": """
        free win winner won prize congratulations click offer limited discount sale deal unsubscribe newsletter
        lottery cash guaranteed bonus subscribe promotion gratis gewinn gewonnen rabatt angebot klicken""",
    "praise compliment positive positiv positif thanks satisfied happy lob": """
        great excellent good love loved happy satisfied amazing wonderful fantastic perfect best awesome
        friendly helpful fast impressed recommend enjoyed pleased thank thanks superb reliable delighted smooth
        !bad !problem !disappoint toll super ausgezeichnet zufrieden begeistert empfehlen freundlich gut
        excellent ravi parfait bueno excelente""",
    "negative negativ négatif dissatisfied unhappy criticism": """
        bad terrible awful horrible worst poor hate disappointed disappointing unhappy broken useless slow rude
        waste annoying frustrated frustrating unacceptable never problem problems fail failed fails refund angry
        complain complaint lawyer twice nobody sad late !good !great !work !recommend !happy !helpful !satisfied
        schlecht furchtbar enttäuscht unzufrieden nie kaputt langsam mauvais déçu nul malo terrible""",
    "urgent urgency critical high emergency dringend eilig": """
        urgent urgently immediately asap emergency critical now today outage down blocked deadline escalate
        severe production hours stop dringend sofort eilig notfall umgehend heute urgent immédiatement""",
    "question questions faq frage frequently": """
        question wondering how what when where could possible explain know ask frage wie wann wo möglich
        erklären""",
    "feature request suggestion idea wunsch verbesserung": """
        feature suggestion suggest idea wish would nice add improve improvement request option support could
        enhancement roadmap wunsch vorschlag verbesserung funktion""",
    "sports sport football": """
        match game team player players season coach goal league tournament championship win won score olympic
        football soccer tennis basketball spiel mannschaft trainer tor""",
    "politics political politik government": """
        government minister president election vote parliament senate party policy campaign law congress
        political regierung wahl minister partei bundestag""",
    "technology tech computer": """
        software hardware computer ai chip device app internet data startup cloud phone developer algorithm
        robot code""",
    "travel reise booking hotel flight": """
        flight hotel booking book reservation trip travel airport passenger ticket luggage check itinerary visa
        reise flug buchung zimmer""",
    "real estate property rent rental miete immobilien": """
        rent rental lease tenant landlord apartment flat property house deposit square meters mortgage viewing
        miete mieter vermieter wohnung kaution immobilie loyer locataire""",
}

FALLBACKS: Final = frozenset(
    """
    other others misc miscellaneous unknown general none neutral sonstiges sonstige andere allgemein autre
    autres otro otros altro unclear
    """.split()  # noqa: SIM905  # a word list reads better without quotes
)
"""Names of labels that stand for "none of the others"."""

NEGATIONS: Final = frozenset(
    """
    not no never without cannot can't don't doesn't didn't isn't wasn't aren't won't wouldn't nicht kein keine
    keinen nie ohne pas jamais sans nunca non
    """.split()  # noqa: SIM905  # a word list reads better without quotes
)


def _stemmed(text: str) -> frozenset[str]:
    return frozenset(f"!{stem(word[1:])}" if word.startswith("!") else stem(word) for word in text.split())


_BY_NAME: Final[dict[str, frozenset[str]]] = {}
for _names, _words in _GROUPS.items():
    for _name in _names.split():
        _BY_NAME[stem(_name)] = _BY_NAME.get(stem(_name), frozenset()) | _stemmed(_words)


def related(name_stem: str) -> frozenset[str]:
    """Stems that speak for a label whose name has this stem; empty for names that are not in the lexicon."""
    return _BY_NAME.get(name_stem, frozenset())
