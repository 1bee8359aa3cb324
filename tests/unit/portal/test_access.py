"""Who may sign in, and what a session is good for."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from flotilla.chassis.settings import load_settings
from flotilla.contracts.errors import SettingsError
from portal.access.people import People, Person, load_people
from portal.access.proxy import proxy_of
from portal.access.sessions import LIFETIME_S, Sessions
from portal.access.sign_in_limit import ADDRESSES_MAX, TRIES_MAX, TRIES_PER_ADDRESS_MAX, WINDOW_S, SignInLimit
from portal.settings import PortalSettings

IDP: dict[str, Any] = {"portal_oidc_issuer": "https://idp.example.com/fleet", "portal_oidc_client_id": "portal"}
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
        f'[[person]]\nname = "a"\ntoken_sha256 = "{DIGEST}"\nlogin = "a"',
        '[[person]]\nname = "a"\nlogin = ""',
        '[[person]]\nname = "a"\nlogin = "x"\n[[person]]\nname = "b"\nlogin = "x"',
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


def test_a_session_lasts_as_long_as_this_portal_lets_it():
    """
    Also one of another portal with the key, or of before it was told to be shorter.
    """
    people = People([person()])
    longer, shorter = Sessions(people, b"k" * 32), Sessions(people, b"k" * 32, lifetime_s=600)
    cookie, session = shorter.open(person(), now_unix_s=1000.0)
    older, _ = longer.open(person(), now_unix_s=1000.0)

    assert 1600 == session.expires_unix_s
    assert [True, True] == [each.find(cookie, now_unix_s=1599.0) is not None for each in (longer, shorter)]
    assert [None, None] == [each.find(cookie, now_unix_s=1600.0) for each in (longer, shorter)]
    assert [False, True] == [each.find(older, now_unix_s=1000.0) is None for each in (longer, shorter)]
    assert session == shorter.find(cookie, now_unix_s=970.0)  # by a clock that is behind


def test_who_signs_in_at_a_provider_does_so_again_after_an_hour():
    """
    So that it is asked whether they still may; the setting says otherwise.
    """
    provider = {"FLOTILLA_PORTAL_OIDC_ISSUER": "https://idp.example.com", "FLOTILLA_PORTAL_OIDC_CLIENT_ID": "portal"}
    told = {"FLOTILLA_PORTAL_SESSION_S": "1800"}
    lifetimes = [
        load_settings(PortalSettings, given).session_lifetime_s for given in ({}, provider, told, provider | told)
    ]

    assert [12 * 3600, 3600, 1800, 1800] == lifetimes
    with pytest.raises(SettingsError, match="FLOTILLA_PORTAL_SESSION_S"):
        load_settings(PortalSettings, {"FLOTILLA_PORTAL_SESSION_S": "1"})


def test_sessions_that_were_ended_are_remembered_within_a_bound():
    """
    And only until they would have ended by themselves.
    """
    sessions = Sessions(People([person()]), b"k" * 32, revoked_max=10)
    opened = [sessions.open(person(), now_unix_s=1000.0) for _ in range(12)]
    for _, session in opened[:11]:
        sessions.end(session, now_unix_s=1000.0)
    assert 10 == len(sessions._revoked)  # pyright: ignore[reportPrivateUsage]
    assert [False, True] == [sessions.find(opened[at][0], now_unix_s=1000.0) is None for at in (11, 10)]

    sessions.end(opened[11][1], now_unix_s=1000.0 + LIFETIME_S)
    assert 1 == len(sessions._revoked)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.parametrize(
    ("addresses", "header"),
    [
        ("", "x-user"),
        ("0.0.0.0/0", "x-user"),
        ("::/0", ""),
        ("proxy.example", "x-user"),
        ("10.0.0.0/33", ""),
        ("10.0.0.1", "x user"),
        ("10.0.0.1", "x" * 100),
        (",".join(f"10.0.0.{number}" for number in range(40)), ""),
    ],
)
def test_a_proxy_that_could_be_anybody_is_refused(addresses: str, header: str):
    """
    Its header would be everybody's.
    """
    with pytest.raises(SettingsError, match="FLOTILLA_PORTAL_PROX"):
        proxy_of(addresses, header)


def asked_by(peer: str, *headers: tuple[str, str]) -> Request:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers]
    return Request({"type": "http", "client": (peer, 1), "headers": raw})


def test_a_header_is_believed_of_the_proxy_alone():
    """
    By its address, in either family; not when it stands there twice, and not when it is empty or long.
    """
    proxy = proxy_of("10.0.0.0/8, fd00::1", "X-User")
    ada = ("x-user", "ada@example.com")

    assert ["ada@example.com"] * 3 == [
        proxy.login_of(asked_by(peer, ada)) for peer in ("10.1.2.3", "::ffff:10.1.2.3", "fd00::1")
    ]
    for request in (
        asked_by("11.1.2.3", ada),
        asked_by("fd00::2", ada),
        asked_by("10.1.2.3", ada, ("x-user", "bob@example.com")),
        asked_by("10.1.2.3", ("x-user", "")),
        asked_by("10.1.2.3", ("x-user", "a" * 10_000)),
        asked_by("10.1.2.3"),
        Request({"type": "http", "client": None, "headers": [(b"x-user", b"ada@example.com")]}),
    ):
        assert proxy.login_of(request) is None
    assert proxy_of("", "").login_of(asked_by("10.1.2.3", ada)) is None


def test_an_address_is_what_the_last_proxy_says_it_is():
    """
    What stands before that, anybody may have written.
    """
    proxy = proxy_of("10.0.0.0/8", "")
    told = ("x-forwarded-for", "1.1.1.1, 192.0.2.7")

    assert "192.0.2.7" == proxy.address_of(asked_by("10.0.0.1", told))
    assert "192.0.2.7" == proxy.address_of(asked_by("10.0.0.1", ("x-forwarded-for", "1.1.1.1"), told))
    assert "192.0.2.9" == proxy.address_of(asked_by("192.0.2.9", told))
    assert "10.0.0.1" == proxy.address_of(asked_by("10.0.0.1", ("x-forwarded-for", "nonsense")))
    assert "10.0.0.1" == proxy.address_of(asked_by("10.0.0.1"))
    # Of IPv6, all that one customer has.
    assert {"2001:db8:1:2::/64"} == {
        proxy.address_of(request)
        for request in (
            asked_by("2001:db8:1:2::7"),
            asked_by("2001:db8:1:2:ffff::9"),
            asked_by("10.0.0.1", ("x-forwarded-for", "2001:db8:1:2::1")),
        )
    }
    assert "192.0.2.9" == proxy.address_of(asked_by("::ffff:192.0.2.9"))


def test_connections_are_counted_by_address_but_those_of_many_people():
    """
    Of IPv6 by network; proxies and this machine are not counted.
    """
    proxy = proxy_of("10.0.0.0/8", "")

    assert "192.0.2.7" == proxy.place_of("192.0.2.7") == proxy.place_of("::ffff:192.0.2.7")
    assert proxy.place_of("2001:db8::1") == proxy.place_of("2001:db8::2") != ""
    assert ["", "", "", ""] == [proxy.place_of(each) for each in ("10.1.2.3", "127.0.0.1", "::1", "")]


def test_a_person_with_a_login_has_no_token(tmp_path: Path):
    """
    Nothing that somebody sends as one is theirs.
    """
    path = tmp_path / "people.toml"
    path.write_text('[[person]]\nname = "Ada"\nlogin = "ada@example.com"\n[[person]]\nname = "Bob"\nlogin = "bob"\n')
    people = load_people(path)
    ada = people.with_login("ada@example.com")

    assert ada is not None
    assert "Ada" == ada.name
    assert ada is people.with_key(ada.key)
    assert people.with_login("eve") is None
    assert not people.have_tokens
    for token in ("", "ada@example.com", "login\0ada@example.com", "None"):
        assert people.with_token(token) is None


def test_tries_are_counted_by_address_and_in_all():
    """
    And forgotten after a minute. Whoever tries many tokens from many addresses keeps nobody else out.
    """
    limit = SignInLimit()
    for _ in range(TRIES_PER_ADDRESS_MAX):
        assert limit.allows("10.0.0.1", now_s=5.0)
        limit.failed("10.0.0.1")
    assert not limit.allows("10.0.0.1", now_s=5.0)
    assert limit.allows("10.0.0.2", now_s=5.0)
    for number in range(TRIES_MAX):
        limit.failed(f"10.1.{number}.1")
    assert limit.allows("10.0.0.2", now_s=5.0)
    assert not limit.allows("10.1.7.1", now_s=5.0)
    assert limit.allows("10.0.0.1", now_s=5.0 + WINDOW_S)
    for number in range(ADDRESSES_MAX + 100):
        limit.failed(str(number))
    assert ADDRESSES_MAX == len(limit)
    assert not limit.allows("10.0.0.2", now_s=5.0 + WINDOW_S)


@pytest.mark.parametrize(
    ("told", "named"),
    [
        ({"portal_oidc_client_id": "portal"}, "FLOTILLA_PORTAL_OIDC_ISSUER is missing"),
        ({"portal_oidc_issuer": "https://idp.example.com"}, "FLOTILLA_PORTAL_OIDC_CLIENT_ID"),
        ({"portal_oidc_issuer": "http://idp.example.com"}, "FLOTILLA_PORTAL_OIDC_ISSUER"),
        ({"portal_oidc_issuer": "https://a@idp.example.com"}, "FLOTILLA_PORTAL_OIDC_ISSUER"),
        ({"portal_oidc_issuer": "https://idp.example.com?a"}, "FLOTILLA_PORTAL_OIDC_ISSUER"),
        ({**IDP, "portal_oidc_scope": "email"}, "FLOTILLA_PORTAL_OIDC_SCOPE"),
        ({**IDP, "portal_oidc_login": ""}, "FLOTILLA_PORTAL_OIDC_LOGIN"),
        ({**IDP, "portal_oidc_secret_file": Path("/dev/null")}, "FLOTILLA_PORTAL_OIDC_SECRET_FILE"),
        ({**IDP, "portal_proxy_header": "X-Auth-Email"}, "FLOTILLA_PORTAL_PROXY_HEADER"),
    ],
)
def test_a_provider_that_is_not_whole_is_refused(told: dict[str, Any], named: str):
    """
    And says what is missing.
    """
    assert PortalSettings(**IDP).provider() is not None
    with pytest.raises(SettingsError, match=named):
        PortalSettings(**told).provider()


def test_somebody_of_a_group_has_a_session_under_their_own_name():
    """
    Which is over when the group is not in the file any more; nobody of a group has the name of somebody else.
    """
    entry = Person(name="Operators", role="approver", token_digest=None, creds=None, admin_creds=False, scope="default",
        documents=False, group="operators")  # fmt: skip
    people = People([entry])
    member = people.in_group("eve@example.com", frozenset({"staff", "operators"}))
    assert member is not None
    sessions = Sessions(people, bytes(32))
    cookie, session = sessions.open(member, now_unix_s=1_000)
    found = sessions.find(cookie, now_unix_s=1_001)

    assert found is not None
    assert found == session
    assert ("eve@example.com", "approver") == (found.person.name, found.person.role)
    assert entry.key != member.key
    assert Sessions(People(), bytes(32)).find(cookie, now_unix_s=1_001) is None
    assert people.in_group("Operators", frozenset({"operators"})) is None
    assert people.in_group("eve@example.com", frozenset({"staff"})) is None
    # The group itself is nobody.
    assert sessions.find(sessions.open(entry, now_unix_s=1_000)[0], now_unix_s=1_001) is None
