"""Documents in English. `{p1}` is a person, `{p1.last}` their family name; `{TYPE|text}` is labelled as it stands."""

from typing import Final

DOCUMENTS: Final = {
    "letter": """{p1}
{address}

{date}

Dear {TITLE|Mr.} {p2.last},

Thank you for your letter of {date}. I am writing to confirm that {p3}, who moved to {town} last spring, will take over the lease of the flat from the first of next month. The deposit was paid by bank transfer to {iban}.

If anything is unclear, please call me on {phone} or write to {email:p1}. I have also asked {p4.first} at {org} to send you a copy of the inventory, and she will be in touch before the end of the week.

Yours sincerely,

{p1}""",
    "clinical note": """Patient: {p1}    MRN: {record}    DOB: {date}

{p1.last} is a {age}-year-old woman who came to the clinic with shortness of breath on exertion and swelling of both ankles. She was seen by {TITLE|Dr.} {p2} on {date}. Past medical history includes hypertension and type 2 diabetes; she takes metformin and lisinopril. Blood pressure was 148/92, pulse 88, temperature 36.8.

Assessment: probable heart failure. Plan: chest X-ray, echocardiogram, and review in two weeks. Her husband, {p3}, was informed by telephone ({phone}). Social security number on file: {id}.""",
    "contract": """SERVICE AGREEMENT

This agreement is made on {date} between {org}, with its office at {address}, and {p1}, born on {date}, of {address}.

1. The contractor shall provide the services described in the schedule with reasonable care and skill.
2. Invoices are payable within thirty days to account {iban}.
3. Notices shall be sent to {p2} at {email:p2}.
4. Either party may end this agreement by giving three months' notice in writing.

Signed: {p1}""",
    "invoice": """INVOICE

From: {org}, {address}
To: {p1}, {address}
Date: {date}
Customer number: {account}

Consulting services, 12 hours at 95.00     1,140.00
Travel expenses                               86.40
Total                                      1,226.40

Paid by card {card}. Questions? Call {phone} or visit {url}.""",
    "chat": """{p1.first}: hi, has anybody heard from {p2} since yesterday?
{p3.first}: she wrote to me this morning, she is in {town} until {DATE|Friday}
{p1.first}: ok. I need her new number, the old one does not work
{p3.first}: try {phone}, or {email:p2}
{p1.first}: thanks! by the way, the server at {ip} is down again and the password is {secret}
{p3.first}: I will ask {p4}, he set it up""",
    "report": """Last week three colleagues noticed that the archive on the second floor had been left open overnight. According to {p1}, nothing was missing in the morning, although the drawer with the personnel files stood open. {p2.last} had been the last to leave the building, and neither she nor {p3.first} remembers having locked the door. Every Department has since received a reminder of the House Rules, and Facility Management will replace the lock. The Works Council asked for a written statement; {p4} wants to discuss it at the next meeting in {town}. There is no reason to believe that customers are affected. However, Monitoring of the server room will continue until the Audit is complete.""",
}
