"""Documents in French; see `english` for the marks."""

from typing import Final

DOCUMENTS: Final = {
    "letter": """{p1}
{address}

{town}, le {date}

{TITLE|Madame} {p2.last},

Je vous remercie de votre lettre du {date}. Je vous confirme que {p3}, qui s'est installé à {town} au printemps, reprendra le bail de l'appartement à compter du premier du mois prochain. Le dépôt de garantie a été versé sur le compte {iban}.

Pour toute question, vous pouvez m'appeler au {phone} ou m'écrire à {email:p1}. J'ai aussi demandé à {p4.first}, de la société {org}, de vous faire parvenir une copie de l'état des lieux avant la fin de la semaine.

Je vous prie d'agréer l'expression de mes salutations distinguées,

{p1}""",
    "clinical note": """Patiente : {p1}    Dossier : {record}    née le {date}

{TITLE|Mme} {p1.last}, âgée de {age} ans, consulte pour un essoufflement à l'effort et un gonflement des deux chevilles. Elle a été examinée par le {TITLE|Dr} {p2} le {date}. Antécédents : hypertension et diabète ; elle prend de la metformine. La tension était de 148/92, le pouls de 88.

Conclusion : insuffisance cardiaque probable. Conduite à tenir : radiographie du thorax, échographie, nouveau rendez-vous dans deux semaines. Son mari, {p3}, a été prévenu par téléphone ({phone}). Numéro de sécurité sociale : {id}.""",
    "contract": """CONTRAT DE PRESTATION DE SERVICES

Entre la société {org}, dont le siège est situé {address}, et {p1}, né le {date}, demeurant {address}, il a été convenu ce qui suit le {date}.

1. Le prestataire exécute les services décrits en annexe avec le soin nécessaire.
2. Les factures sont payables sous trente jours sur le compte {iban}.
3. Les notifications sont adressées à {p2} à l'adresse {email:p2}.
4. Chaque partie peut résilier le présent contrat par écrit avec un préavis de trois mois.

Signature : {p1}""",
    "invoice": """FACTURE

Émetteur : {org}, {address}
Client : {p1}, {address}
Date : {date}
Numéro de client : {account}

Conseil, 12 heures à 95,00 euros      1 140,00 EUR
Frais de déplacement                     86,40 EUR
Total                                 1 226,40 EUR

Réglé par carte bancaire {card}. Une question ? Appelez le {phone} ou consultez {url}.""",
    "chat": """{p1.first} : salut, quelqu'un a des nouvelles de {p2} depuis hier ?
{p3.first} : elle m'a écrit ce matin, elle est à {town} jusqu'à la fin de la semaine
{p1.first} : d'accord. Il me faut son nouveau numéro, l'ancien ne marche plus
{p3.first} : essaie le {phone}, ou {email:p2}
{p1.first} : merci ! Au fait, le serveur {ip} est encore en panne et le mot de passe est {secret}
{p3.first} : je vais demander à {p4}, c'est lui qui l'a installé""",
    "report": """La semaine dernière, trois collègues ont constaté que les archives du deuxième étage étaient restées ouvertes pendant la nuit. Selon {p1}, rien ne manquait le matin, bien que le tiroir des dossiers du personnel ait été ouvert. C'est {p2.first} qui avait quitté le bâtiment en dernier, et ni lui ni {p3.first} ne se souvient d'avoir fermé la porte. La Direction a depuis rappelé le règlement intérieur, et le service technique remplacera la serrure. Le Comité social a demandé une déclaration écrite ; {p4} souhaite en parler lors de la prochaine réunion à {town}. Rien ne permet de penser que des clients sont concernés. La surveillance de la salle des serveurs se poursuivra jusqu'à la fin de l'audit.""",
}
