"""What each command's help ends with: lines to copy."""

from typing import Final

_EXAMPLES: Final = {
    "ask": """
flotilla ask classify mail.txt --labels billing,legal
flotilla ask summarize letters/ --max-words 80 --json
cat report.md | flotilla ask summarize --stream
flotilla ask translate note.txt --target de --data-class restricted
""",
    "redact": """
flotilla redact letter.pdf > letter.txt
flotilla redact letters/ --out redacted/ --case 2026-117
cat mail.txt | flotilla redact - --language any
""",
    "vault": """
flotilla vault list
flotilla vault forget HANDLE
flotilla vault forget --case 2026-117
""",
    "submit": """
flotilla submit summarize report.md
flotilla submit translate letters/ --target de --wait --json
flotilla submit classify letters/ --labels billing,legal --id letters-june
""",
    "result": """
flotilla result seq-12
flotilla result mail-4711 --wait --timeout-s 60
flotilla result --batch letters-june --json
""",
    "tasks": """
flotilla tasks
flotilla tasks --batch letters-june --limit 100
""",
    "cancel": """
flotilla cancel seq-12
""",
    "dead": """
flotilla dead list --limit 10
flotilla dead show seq-12
flotilla dead retry seq-12
""",
    "status": """
flotilla status
flotilla status seq-12
flotilla status --replicas --json
""",
    "watch": """
flotilla watch
flotilla watch --capability classify --kind failed
flotilla watch --json
""",
    "explain": """
flotilla explain classify
flotilla explain summarize --data-class restricted
flotilla explain summarize --route cloud
""",
    "spend": """
flotilla spend
flotilla spend --by day,pool --since 2026-11-01
flotilla spend --by label.team --json
""",
    "policy": """
flotilla policy check policy.toml
flotilla policy set policy.toml
flotilla policy get
flotilla policy history
flotilla policy rollback
flotilla policy unset
""",
    "replay": """
flotilla replay traffic.csv --label truth
flotilla replay traffic.jsonl --policy policy.toml --plot accuracy.png
flotilla replay traffic.csv --cascade small,large --confidence-min 0.5 0.7 0.9
flotilla replay traffic.csv --consensus small,other,large --only --json
""",
    "experiment": """
flotilla experiment report classify
flotilla experiment feedback seq-12 0.9 --scorer reviewer
flotilla experiment calibrate traffic.csv --cheap small --dear large
flotilla experiment calibrate t.csv --cheap s --dear l --agreement 0.99
""",
    "pipeline": """
flotilla pipeline check process-document.toml
flotilla pipeline check process-document.toml --policy policy.toml --cloud-pool claude --json
flotilla pipeline check capabilities/
flotilla pipeline list capabilities/
flotilla pipeline show capabilities/process-document.toml --mermaid
""",
    "privacy": """
flotilla privacy prove
flotilla privacy prove --tasks 1000 --capability process-document
flotilla privacy prove --creds admin.nk --scope acme --json
""",
    "approvals": """
flotilla approvals list --creds approver.default.nk
flotilla approvals grant ID --comment "no names are left" --key approver.nk
flotilla approvals deny ID --comment "page 2 names the patient"
flotilla approvals key approver.nk
flotilla approvals sign synthesize notes.txt --instruction "Write a report" --key approver.nk
flotilla approvals show GRANT
""",
    "audit": """
flotilla audit --creds approver.default.nk
flotilla audit ID --json
""",
    "blackboard": """
flotilla blackboard set notes.today '{"tone": "formal"}'
flotilla blackboard get notes.today
flotilla blackboard list
flotilla blackboard watch
""",
    "up": """
flotilla up
flotilla up --local 4 --slots 8 --dir ~/fleet
flotilla up --policy policy.toml --capabilities capabilities/
flotilla up --port 0 --json
""",
    "doctor": """
flotilla doctor
flotilla doctor --local-models llama3.2
""",
    "bench": """
flotilla bench
flotilla bench --json
""",
}


def examples_of(command: str) -> str:
    """The end of a command's help."""
    return _as_epilogue(_EXAMPLES[command])


def _as_epilogue(lines: str) -> str:
    return "Examples:\n\n" + "".join(f"  {line}\n" for line in lines.strip().splitlines())


BEGINNING: Final = _as_epilogue(
    """
flotilla up
flotilla ask classify mail.txt --labels billing,legal
cat report.md | flotilla ask summarize --max-words 80 --stream
flotilla submit translate letters/ --target de --wait --json
"""
)
"""For somebody who has not begun yet."""
