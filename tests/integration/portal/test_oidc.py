"""People who sign in at an OpenID Connect provider, and what is believed of it."""

import hmac
import json
import time
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Callable, Mapping
from ipaddress import IPv4Address
from random import getrandbits
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
import pytest_asyncio
from joserfc import jwt
from joserfc.jwk import RSAKey

from flotilla.testkit.fleet import RunningFleet
from flotilla.testkit.oidc_provider import KEY_BITS, SUBJECT, OidcProvider
from flotilla.testkit.patient_client import WAIT_S
from flotilla.testkit.portal import PortalHere, people_file, start_portal
from portal.access import oidc as oidc_module
from portal.access.oidc import Flow, Oidc, OidcError, SignedIn
from portal.access.oidc_settings import OidcSettings
from portal.access.people import People, Person

pytestmark = pytest.mark.asyncio(loop_scope="session")

Sign = Callable[[Mapping[str, Any]], str]
SECRET = "a-secret-of-the-portal's"  # noqa: S105
PEOPLE = """
[[person]]
name = "Ada"
role = "admin"
login = "ada@example.com"
[[person]]
name = "Operators"
role = "approver"
group = "operators"
"""
ADA = {"email": "ada@example.com", "email_verified": True, "groups": None}
EVE = {"email": "eve@example.com", "email_verified": True, "groups": ["staff", "operators"]}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def provider() -> AsyncIterator[OidcProvider]:
    """
    A provider that knows the portal by a secret.
    """
    async with OidcProvider(client_secret=SECRET) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def portal_of_provider(
    portal_fleet: RunningFleet, provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory
) -> PortalHere:
    """
    A portal at which one signs in there; whoever has not sees nothing.
    """
    folder = tmp_path_factory.mktemp("provider")
    people = people_file(folder)
    people.write_text(people.read_text() + PEOPLE)
    (folder / "secret").write_text(f"{SECRET}\n")
    env = {
        "FLOTILLA_PORTAL_HOST": "0.0.0.0",  # noqa: S104
        "FLOTILLA_PORTAL_NAMES": "127.0.0.1",
        "FLOTILLA_PORTAL_PROXIES": "127.0.0.1",
        "FLOTILLA_PORTAL_OIDC_ISSUER": provider.url,
        "FLOTILLA_PORTAL_OIDC_CLIENT_ID": provider.client_id,
        "FLOTILLA_PORTAL_OIDC_SECRET_FILE": str(folder / "secret"),
    }
    portal = await start_portal(portal_fleet, "of-a-provider", people=people, env=env)
    provider.redirect_uris.add(f"{portal.url}/sign-in/back")
    return portal


@pytest.fixture(autouse=True)
def _as_it_should_be(provider: OidcProvider) -> None:
    provider.claims, provider.sign, provider.keys_answer = dict(ADA), provider.signed, None
    provider.end_place = None


def settings_of(provider: OidcProvider) -> OidcSettings:
    """As a portal has them of this provider."""
    return OidcSettings(
        issuer=provider.url,
        client_id=provider.client_id,
        client_secret=SECRET,
        scope="openid",
        login_claim="sub",
        groups_claim="groups",
    )


async def come_back(browser: httpx.AsyncClient) -> httpx.Response:
    """The portal's answer to whom the provider has sent back."""
    away = await browser.get("/sign-in/start")
    assert away.status_code == 303
    async with httpx.AsyncClient(timeout=WAIT_S) as elsewhere:
        back = await elsewhere.get(away.headers["location"])
    assert back.status_code == 302
    return await browser.get(back.headers["location"])


async def test_who_signs_in_at_the_provider_is_who_the_file_says(portal_of_provider: PortalHere):
    """
    By login, with the rights that stand there; the session is one like any other, and the way there is not open twice.
    """
    async with portal_of_provider.browser() as browser:
        assert (await browser.get("/api/tasks")).status_code == 401
        assert (await browser.get("/session")).json()["sign_in"] == ["token", "provider"]
        answer = await come_back(browser)
        session = (await browser.get("/session")).json()
        again = await browser.get(str(answer.request.url))
        listed = await browser.get("/api/tasks")
        out = await browser.delete("/session", headers={"x-csrf-token": session["csrf"]})
        after = await browser.get("/api/tasks")

    cookies = answer.headers.get_list("set-cookie")
    assert (303, "/") == (answer.status_code, answer.headers["location"])
    assert "max-age=3600" in cookies[1].lower()
    assert ["httponly", "samesite=strict"] == sorted(
        part.strip().lower()
        for part in cookies[1].split(";")
        if part.strip().lower().startswith(("httponly", "samesite"))
    )
    assert ("Ada", "admin", "provider") == (session["name"], session["role"], session["signed_in_by"])
    assert "/#/sign-in/stale" == again.headers["location"]
    assert [200, 200, 401] == [listed.status_code, out.status_code, after.status_code]


async def test_who_signs_out_signs_out_at_the_provider(portal_of_provider: PortalHere, provider: OidcProvider):
    """
    With the ID token of the sign-in, which the browser keeps for this one address, and once: without it the provider asks.
    """
    asked = len(provider.ended)
    async with portal_of_provider.browser() as browser, httpx.AsyncClient(timeout=WAIT_S) as elsewhere:
        answer = await come_back(browser)
        kept = next(each for each in answer.headers.get_list("set-cookie") if "id-token" in each).lower()
        other_requests = str((await browser.get("/session")).request.headers)
        away = await browser.get("/sign-in/end")
        back = await elsewhere.get(away.headers["location"])
        home = await browser.get(back.headers["location"])
        await elsewhere.get((await browser.get("/sign-in/end")).headers["location"])

    with_token, without = provider.ended[asked:]
    claims = jwt.decode(with_token["id_token_hint"], provider.key).claims
    assert {"httponly", "samesite=strict", "path=/sign-in/end"} <= {part.strip() for part in kept.split(";")}
    assert "id-token" not in other_requests
    assert ADA["email"] == claims["email"]
    assert f"{portal_of_provider.url}/sign-in/back" == with_token["post_logout_redirect_uri"]
    assert (303, "/") == (home.status_code, home.headers["location"])
    assert "id_token_hint" not in without


@pytest.mark.parametrize("place", ["", "javascript:alert(1)", "http://idp.example.com/end", "https://"])
async def test_a_provider_without_a_place_to_sign_out_ends_nothing_there(provider: OidcProvider, place: str):
    """
    Signing in is not refused for it, and nobody is sent to what is no address of a provider.
    """
    oidc = Oidc(settings_of(provider), People())
    provider.end_place = place
    away = await oidc.begin(Flow(state="s", nonce="n", verifier="v" * 43), "http://127.0.0.1:1/sign-in/back")

    assert ("", provider.url) == (
        await oidc.end("token", "http://127.0.0.1:1/sign-in/back"),
        away.partition("/auth")[0],
    )


async def test_a_group_gives_its_rights_to_whom_the_provider_names(
    portal_of_provider: PortalHere, provider: OidcProvider
):
    """
    Under their own name, which stands beside what they decide.
    """
    provider.claims = dict(EVE)
    async with portal_of_provider.browser() as browser:
        assert "/" == (await come_back(browser)).headers["location"]
        session = (await browser.get("/session")).json()

    assert ("eve@example.com", "approver", True) == (session["name"], session["role"], session["can"]["decide"])


NOT_LET_IN: dict[str, dict[str, Any]] = {
    "a login that is nobody's": {"email": "mallory@example.com"},
    "an address that is not verified": {"email_verified": False},
    "an address of which nothing is said": {"email_verified": None},
    "a login that is no text": {"email": ["ada@example.com"]},
    "a login of control characters": {"email": "ada@example.com\n"},
    "the name of somebody else, by a group": {"email": "Ada", "groups": ["operators"]},
    "groups that are none": {"email": "mallory@example.com", "groups": [["operators"], 7, {}]},
    "another flow's nonce": {"nonce": "another"},
    "no nonce": {"nonce": None},
    "another portal": {"aud": "another"},
    "another portal, which asks in the name of this one": {"aud": "another", "azp": "portal"},
    "several, of which another asks": {"aud": ["portal", "another"], "azp": "another"},
    "another provider": {"iss": "https://example.com"},
    "a token that is over": {"exp": int(time.time()) - 3600},
    "a token without an end": {"exp": None},
    "a token that is not good yet": {"nbf": int(time.time()) + 3600},
}


@pytest.mark.parametrize("claims", NOT_LET_IN.values(), ids=NOT_LET_IN.keys())
async def test_a_token_that_says_something_else_lets_nobody_in(
    portal_of_provider: PortalHere, provider: OidcProvider, claims: dict[str, object]
):
    """
    Each of them is one that is right but for this.
    """
    provider.claims = {**ADA, **claims}
    await nobody_is_let_in(portal_of_provider)


def token_of(algorithm: str, claims: Mapping[str, Any], sign: Callable[[bytes], bytes]) -> str:
    """A token by hand: the library would make none of these."""
    parts = [json.dumps(part).encode() for part in ({"alg": algorithm, "kid": "first"}, claims)]
    text = b".".join(urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    return (text + b"." + urlsafe_b64encode(sign(text)).rstrip(b"=")).decode()


def by_public_key(provider: OidcProvider) -> Sign:
    """A token whose shared secret is what everybody may know."""
    secret = provider.key.as_pem(private=False)
    return lambda claims: token_of("HS256", claims, lambda text: hmac.digest(secret, text, "sha256"))


def by_another_key(_provider: OidcProvider) -> Sign:
    """A token of somebody else's, under the provider's name for its key."""
    key = RSAKey.generate_key(KEY_BITS, {"kid": "first"})
    return lambda claims: jwt.encode({"alg": "RS256", "kid": "first"}, dict(claims), key)


def unsigned(_provider: OidcProvider) -> Sign:
    """A token with the algorithm that is none."""
    return lambda claims: token_of("none", claims, lambda _: b"")


def always(token: str) -> Callable[[OidcProvider], Sign]:
    """The same, whatever it should say."""
    return lambda _provider: lambda _claims: token


@pytest.mark.parametrize(
    "sign",
    [
        unsigned,
        by_public_key,
        by_another_key,
        always(""),
        always("a.b.c"),
        always("." * 300_000),
    ],
    ids=["unsigned", "shared-secret", "another-key", "empty", "no-json", "too-long"],
)
async def test_a_token_that_the_provider_has_not_signed_lets_nobody_in(
    portal_of_provider: PortalHere, provider: OidcProvider, sign: Callable[[OidcProvider], Sign]
):
    """
    Nor one that is none.
    """
    provider.sign = sign(provider)
    await nobody_is_let_in(portal_of_provider)


async def nobody_is_let_in(portal: PortalHere) -> None:
    """Whoever comes back is told so, and may not look."""
    # From an address of its own, so that failures are not counted together.
    async with portal.browser(headers={"x-forwarded-for": str(IPv4Address(getrandbits(31)))}) as browser:
        answer = await come_back(browser)
        assert answer.headers["location"] in {
            f"/#/sign-in/{why}" for why in ("refused", "unknown_person", "unreachable")
        }
        assert "strict" not in str(answer.headers.get_list("set-cookie")).lower()
        assert (await browser.get("/api/tasks")).status_code == 401


async def test_a_way_back_belongs_to_the_browser_that_began(portal_of_provider: PortalHere):
    """
    Nobody is signed in by an address that somebody else sends; nor by a cookie that is forged, or a code that was used.
    """
    async with (
        portal_of_provider.browser() as mine,
        portal_of_provider.browser() as theirs,
        httpx.AsyncClient(timeout=WAIT_S) as idp,
    ):
        away = await theirs.get("/sign-in/start")
        back = (await idp.get(away.headers["location"])).headers["location"]
        sent = [await mine.get(back)]
        await mine.get("/sign-in/start")
        sent.append(await mine.get(back))
        state = parse_qs(urlsplit(back).query)["state"][0]
        forged = f"{int(time.time()) + 600}.{state}.{state}.{state}.{'0' * 64}"
        sent.append(await mine.get(back, headers={"cookie": f"flotilla-sign-in={forged}"}))
        sent.extend(
            [await theirs.get(f"/sign-in/back?state={state}&{more}") for more in ("", "error=access_denied&code=a")]
        )
        assert (await mine.get("/api/tasks")).status_code == 401

    assert ["stale", "stale", "stale", "refused", "stale"] == [
        answer.headers["location"].removeprefix("/#/sign-in/") for answer in sent
    ]


STRANGE_KEYS = [
    {"kty": "EC", "crv": "P-192", "x": "AA", "y": "AA", "kid": "curve"},
    {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "small"},
    {"kty": ["RSA"]},
    {},
    7,
]


async def test_keys_that_are_not_known_here_keep_nobody_out(provider: OidcProvider):
    """
    A provider adds kinds of keys before everybody knows them; the one that signs is among the others.
    """
    person = Person(name="Ada", role="viewer", token_digest=None, creds=None, admin_creds=False, scope="default",
        documents=False, login=SUBJECT)  # fmt: skip
    oidc, here = Oidc(settings_of(provider), People([person])), "http://127.0.0.1:1/sign-in/back"
    provider.redirect_uris.add(here)
    provider.keys_answer = json.dumps({"keys": [*STRANGE_KEYS, provider.key.as_dict(private=False)]}).encode()
    flow = Flow(state="state", nonce="nonce", verifier="v" * 43)
    async with httpx.AsyncClient() as browser:
        back = await browser.get(await oidc.begin(flow, here))
    code = parse_qs(urlsplit(back.headers["location"]).query)["code"][0]

    assert person is (await oidc.finish(flow, code, here)).person


async def test_a_new_key_of_the_providers_is_taken(provider: OidcProvider, monkeypatch: pytest.MonkeyPatch):
    """
    Keys are read again when one is not known, and not more often than KEYS_AGAIN_S.
    """
    person = Person(name="Ada", role="viewer", token_digest=None, creds=None, admin_creds=False, scope="default",
        documents=False, login=SUBJECT)  # fmt: skip
    oidc, here = Oidc(settings_of(provider), People([person])), "http://127.0.0.1:1/sign-in/back"
    provider.redirect_uris.add(here)
    flow = Flow(state="state", nonce="nonce", verifier="v" * 43)

    async def sign_in() -> SignedIn:
        async with httpx.AsyncClient(timeout=WAIT_S) as browser:
            back = await browser.get(await oidc.begin(flow, here))
        return await oidc.finish(flow, parse_qs(urlsplit(back.headers["location"]).query)["code"][0], here)

    assert person is (await sign_in()).person
    provider.key = RSAKey.generate_key(KEY_BITS, {"kid": "second"})
    provider.published = [provider.key]
    with pytest.raises(OidcError, match="InvalidKeyId"):
        await sign_in()
    monkeypatch.setattr(oidc_module, "KEYS_AGAIN_S", 0.0)
    assert person is (await sign_in()).person
    provider.keys_answer = b"[" * (oidc_module.ANSWER_BYTES_MAX + 1)
    monkeypatch.setattr(oidc_module, "KNOWN_FOR_S", 0.0)
    with pytest.raises(OidcError, match="configuration or keys: ReadError"):
        await sign_in()
    asked = len(provider.requests)
    with pytest.raises(OidcError, match="a moment ago"):
        await oidc.begin(flow, here)
    assert asked == len(provider.requests)
