"""Documents in German; see `english` for the marks."""

from typing import Final

DOCUMENTS: Final = {
    "letter": """{p1}
{address}

{town}, den {date}

Sehr geehrte {TITLE|Frau} {p2.last},

vielen Dank für Ihr Schreiben vom {date}. Hiermit bestätige ich, dass {p3}, der im Frühjahr nach {town} gezogen ist, den Mietvertrag über die Wohnung zum nächsten Ersten übernimmt. Die Kaution wurde auf das Konto {iban} überwiesen.

Bei Rückfragen erreichen Sie mich unter {phone} oder per E-Mail an {email:p1}. Außerdem habe ich {p4.first} von der {org} gebeten, Ihnen eine Abschrift des Übergabeprotokolls zu schicken; die Unterlagen sollten noch vor dem Wochenende bei Ihnen eintreffen.

Mit freundlichen Grüßen

{p1}""",
    "clinical note": """Patientin: {p1}    Patientennummer: {record}    geboren am {date}

{TITLE|Frau} {p1.last} ist {age} Jahre alt und stellte sich wegen zunehmender Atemnot bei Belastung und geschwollener Knöchel vor. Sie wurde am {date} von {TITLE|Dr.} {p2} untersucht. Als Vorerkrankungen bestehen ein Bluthochdruck und ein Diabetes; eingenommen werden Metformin und Ramipril. Der Blutdruck lag bei 148/92, der Puls bei 88 in der Minute.

Beurteilung: Verdacht auf Herzschwäche. Vorgehen: Röntgenaufnahme des Brustkorbs, Ultraschall des Herzens, Wiedervorstellung in zwei Wochen. Der Ehemann, {p3}, wurde telefonisch ({phone}) verständigt. Steuer-ID laut Akte: {id}.""",
    "contract": """DIENSTLEISTUNGSVERTRAG

Zwischen der {org}, {address}, und {p1}, geboren am {date}, wohnhaft {address}, wird am {date} folgender Vertrag geschlossen.

1. Der Auftragnehmer erbringt die in der Anlage beschriebenen Leistungen mit der gebotenen Sorgfalt.
2. Rechnungen sind innerhalb von dreißig Tagen auf das Konto {iban} zu zahlen.
3. Mitteilungen sind an {p2} unter {email:p2} zu richten.
4. Der Vertrag kann mit einer Frist von drei Monaten schriftlich gekündigt werden.

Unterschrift: {p1}""",
    "invoice": """RECHNUNG

Von: {org}, {address}
An: {p1}, {address}
Datum: {date}
Kundennummer: {account}

Beratung, 12 Stunden zu je 95,00 Euro      1.140,00
Fahrtkosten                                   86,40
Gesamtbetrag                               1.226,40

Bezahlt mit Kreditkarte {card}. Fragen? Rufen Sie uns an: {phone}, oder besuchen Sie {url}.""",
    "chat": """{p1.first}: hallo, hat jemand seit gestern etwas von {p2} gehört?
{p3.first}: sie hat mir heute früh geschrieben, sie ist bis {DATE|Freitag} in {town}
{p1.first}: gut. Ich brauche ihre neue Nummer, die alte geht nicht mehr
{p3.first}: versuch es mit {phone} oder {email:p2}
{p1.first}: danke! Übrigens ist der Rechner mit der Adresse {ip} wieder ausgefallen, das Passwort lautet {secret}
{p3.first}: ich frage {p4}, er hat ihn eingerichtet""",
    "report": """In der vergangenen Woche fiel drei Beschäftigten auf, dass das Archiv im zweiten Stock über Nacht offen geblieben war. Nach Angaben von {p1} fehlte am Morgen nichts, obwohl die Schublade mit den Personalakten herausgezogen war. Zuletzt hatte {p2.first} das Gebäude verlassen, und weder er noch {p3.first} kann sich an das Abschließen der Eingangstür erinnern. Die Abteilungsleitung hat inzwischen an die Hausordnung erinnert, und die Gebäudeverwaltung tauscht das Türschloss aus. Der Betriebsrat bat um eine schriftliche Stellungnahme; {p4} möchte darüber bei der nächsten Sitzung in {town} sprechen. Anhaltspunkte für eine Betroffenheit von Kundinnen und Kunden bestehen nicht. Die Überwachung des Serverraums wird bis zum Abschluss der Prüfung fortgesetzt, und die Zugangsberechtigungen werden neu vergeben.""",
}
