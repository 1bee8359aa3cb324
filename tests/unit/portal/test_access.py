"""Who may sign in, and what a session is good for."""

from hashlib import sha256
from pathlib import Path

import pytest

from flotilla.contracts.errors import SettingsError
from portal.access.people import People, Person, load_people
from portal.access.sessions import LIFETIME_S, Sessions
from portal.access.sign_in_limit import ADDRESSES_MAX, TRIES_MAX, TRIES_PER_ADDRESS_MAX, WINDOW_S, SignInLimit

DIGEST = sha256(b"a-token-that-is-long-enough").hexdigest()


def person(name: str = "ada", token: bytes = b"a-token-that-is-long-enough") -> Person:
    return Person(
        name=name,
        role="admin",
        token_digest=sha256(token).digest(),
        creds=None,
        admin_creds=False,
        scope="default",
        documents=False,
    )


def test_a_person_is_known_by_the_token_of_a_file_or_its_digest(tmp_path: Path):
    """
    Paths are relative to the file.
    """
    (tmp_path / "ada.token").write_text("ada-s-token-0123456789\n")
    (tmp_path / "tenant.nk").write_text("SU...")
    path = tmp_path / "people.toml"
    path.write_text(
        '[[person]]\nname = "Ada"\nrole = "approver"\ntoken_file = "ada.token"\ncreds = "tenant.nk"\n'
        f'[[person]]\nname = "Bob"\ntoken_sha256 = "{DIGEST}"\n'
    )
    people = load_people(path)
    ada, bob = people.with_token("ada-s-token-0123456789"), people.with_token("a-token-that-is-long-enough")

    assert ada is not None
    assert bob is not None
    assert ("Ada", "approver", tmp_path / "tenant.nk") == (ada.name, ada.role, ada.creds)
    assert ("Bob", "viewer", None) == (bob.name, bob.role, bob.creds)
    assert people.with_token("") is None
    assert people.with_token("ada-s-token-0123456789\n") is None
    assert people.with_token("\ud800") is None


@pytest.mark.parametrize(
    "text",
    [
        "person = 1",
        '[[person]]\nname = "a"',
        f'[[person]]\nname = "a"\ntoken_sha256 = "{DIGEST}"\ntoken_file = "x"',
        '[[person]]\nname = "a"\ntoken_file = "missing"',
        '[[person]]\nname = "a"\ntoken_file = "short"',
        f'[[person]]\nname = ""\ntoken_sha256 = "{DIGEST}"',
        f'[[person]]\nname = "a"\nrole = "root"\ntoken_sha256 = "{DIGEST}"',
        f'[[person]]\nname = "a"\nrolle = "admin"\ntoken_sha256 = "{DIGEST}"',
        f'[[person]]\nname = "a"\ntoken_sha256 = "{DIGEST}"\ncreds = "missing"',
        f'[[person]]\nname = "a"\ntoken_sha256 = "{DIGEST}"\nadmin_creds = true',
        f'[[person]]\nname = "a"\ntoken_sha256 = "{DIGEST}"\n[[person]]\nname = "b"\ntoken_sha256 = "{DIGEST}"',
        "[[person]",
    ],
)
def test_a_file_that_is_wrong_is_refused_in_words(tmp_path: Path, text: str):
    """
    With the name of the setting; without a token.
    """
    (tmp_path / "short").write_text("too-short-a-one")
    path = tmp_path / "people.toml"
    path.write_text(text)

    with pytest.raises(SettingsError, match="FLOTILLA_PORTAL_PEOPLE") as caught:
        load_people(path)
    assert "too-short-a-one" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_session_is_good_until_it_ends_and_for_nobody_else():
    """
    Not after its time, not when it was ended, not changed, not under another key, not with a new token of its person.
    """
    sessions = Sessions(People([person()]), b"k" * 32)
    cookie, session = sessions.open(person(), now_unix_s=1000.0)

    assert session == sessions.find(cookie, now_unix_s=1000.0 + LIFETIME_S - 1)
    assert sessions.find(cookie, now_unix_s=1000.0 + LIFETIME_S) is None
    assert Sessions(People([person()]), b"other key" * 4).find(cookie, now_unix_s=1000.0) is None
    assert Sessions(People([person(token=b"another")]), b"k" * 32).find(cookie, now_unix_s=1000.0) is None
    assert Sessions(People(), b"k" * 32).find(cookie, now_unix_s=1000.0) is None
    version, key, expires, nonce, signature = cookie.split(".")
    for forged in (
        f"{version}.{key}.{int(expires) + 1}.{nonce}.{signature}",
        f"{version}.{key}.{expires}.{'0' * 32}.{signature}",
        f"{version}.{key}.{expires}.{nonce}.{session.csrf}",
        f"{version}.{key}.{expires}.{nonce}.",
        "....",
        "ü" * 20,
        "." * 10_000,
    ):
        assert sessions.find(forged, now_unix_s=1000.0) is None
    sessions.end(session, now_unix_s=1000.0)
    assert sessions.find(cookie, now_unix_s=1000.0) is None


def test_sessions_that_were_ended_are_remembered_within_a_bound():
    """
    And only until they would have ended by themselves.
    """
    sessions = Sessions(People([person()]), b"k" * 32, revoked_max=10)
    opened = [sessions.open(person(), now_unix_s=1000.0) for _ in range(12)]
    for _, session in opened[:11]:
        sessions.end(session, now_unix_s=1000.0)
    assert 10 == sessions.revoked
    assert [False, True] == [sessions.find(opened[at][0], now_unix_s=1000.0) is None for at in (11, 10)]

    sessions.end(opened[11][1], now_unix_s=1000.0 + LIFETIME_S)
    assert 1 == sessions.revoked


def test_tries_are_counted_by_address_and_in_all():
    """
    And forgotten after a minute.
    """
    limit = SignInLimit()
    for _ in range(TRIES_PER_ADDRESS_MAX):
        assert limit.allows("10.0.0.1", now_s=5.0)
        limit.failed("10.0.0.1")
    assert not limit.allows("10.0.0.1", now_s=5.0)
    assert limit.allows("10.0.0.2", now_s=5.0)
    for number in range(TRIES_MAX):
        limit.failed(f"10.1.{number}.1")
    assert not limit.allows("10.0.0.2", now_s=5.0)
    assert limit.allows("10.0.0.1", now_s=5.0 + WINDOW_S)
    for number in range(ADDRESSES_MAX + 100):
        limit.failed(str(number))
    assert ADDRESSES_MAX == len(limit)
