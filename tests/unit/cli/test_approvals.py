"""`flotilla approvals`: a key, a grant for what `ask` would send, and what a grant says."""

import json
import stat
from pathlib import Path

import pytest

from flotilla.cli.command import main
from flotilla.contracts.approvals import payload_digest, read_grant
from flotilla.fabric.approver_keys import is_public_key, is_signed

INPUT = '{"document": "a contract"}'


@pytest.fixture
def key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """
    An approver's key, as the command makes it.
    """
    file = tmp_path / "approver.nk"
    assert main(["approvals", "key", str(file)]) == 0
    assert is_public_key(capsys.readouterr().out.strip())
    return file


def test_a_key_is_its_owners_alone_and_never_overwritten(key: Path):
    """
    Whoever loses it can make another, elsewhere.
    """
    before = key.read_bytes()

    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert main(["approvals", "key", str(key)]) == 2
    assert key.read_bytes() == before


def test_a_grant_is_for_the_input_that_was_shown(key: Path, capsys: pytest.CaptureFixture[str]):
    """
    The whole input goes to standard error, the grant alone to standard output.
    """
    assert main(["approvals", "sign", "summarize", INPUT, "--key", str(key), "--scope", "acme"]) == 0
    shown = capsys.readouterr()
    given = read_grant(shown.out.strip())

    assert is_signed(given)
    assert (given.grant.scope, given.grant.capability, given.grant.data_class) == ("acme", "summarize", "internal")
    assert given.grant.zones == ["cloud"]
    assert given.grant.input_sha256 == payload_digest(INPUT.encode())
    assert '"a contract"' in shown.err


def test_show_tells_a_good_grant_from_a_changed_one(key: Path, capsys: pytest.CaptureFixture[str]):
    """
    By the exit code, and in words.
    """
    main(["approvals", "sign", "summarize", INPUT, "--key", str(key), "--json"])
    grant = json.loads(capsys.readouterr().out)["grant"]
    claims, _, signature = grant.partition(".")
    changed = f"{claims}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"

    assert main(["approvals", "show", grant, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["signature_is_good"] is True
    assert main(["approvals", "show", changed]) == 1
    assert "no worker takes this grant" in capsys.readouterr().err
    assert main(["approvals", "show", "nonsense"]) == 2


@pytest.mark.parametrize(
    "more", [["--lifetime-s", "0"], ["--lifetime-s", "604801"], ["--scope", "a.b"], ["--key", "/nowhere/approver.nk"]]
)
def test_what_makes_no_sense_is_refused(key: Path, more: list[str]):
    """
    Nothing is signed.
    """
    keyed = more if "--key" in more else [*more, "--key", str(key)]

    assert main(["approvals", "sign", "summarize", INPUT, *keyed]) == 2


@pytest.mark.parametrize("words", [("show",), ("grant",), ("deny",)])
def test_what_is_no_id_is_told_so_with_where_ids_are(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]):
    """
    Nobody is asked, and no pattern is shown.
    """
    assert main(["approvals", *words, "report-7", "--url", "nats://127.0.0.1:1"]) == 2
    told = capsys.readouterr().err

    assert "report-7" in told
    assert "flotilla approvals list" in told
    assert "regex" not in told


def test_an_audit_of_no_id_is_told_so(capsys: pytest.CaptureFixture[str]):
    """
    As above.
    """
    assert main(["audit", "report-7", "--url", "nats://127.0.0.1:1"]) == 2
    assert "flotilla approvals list" in capsys.readouterr().err
