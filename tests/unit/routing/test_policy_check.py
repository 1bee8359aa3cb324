"""Reading a policy as its author wrote it."""

from pathlib import Path

import msgspec
import pytest

from flotilla.contracts.capabilities import BUILT_IN
from flotilla.contracts.errors import PolicyError
from flotilla.contracts.policy import FORMAT, Policy, decode_policy
from flotilla.contracts.policy_rules import rules_for
from flotilla.routing.policy_check import parse_policy, warnings
from flotilla.routing.strategies import STRATEGIES

EXAMPLE = Path(__file__).parents[3] / "examples" / "policy.toml"
POOLS = ["ollama", "anthropic", "openai"]

BROKEN = """
formt = 1
[default]
strategy = "failovr"
guards = { p95_ms = -3, error_rate = nan, min_samples = "x" }
[capabilities.classify]
routes = [{pool = "a"}, {pool = "A b", weigth = 2}, {pool = "a"}, {model = "x"}, {pool = "b", weight = 0}]
return_after_s = -1
[capabilities.embed]
routes = []
[capabilities."No Name"]
routes = "a"
data_classes = ["secret"]
[scopes.acme]
data_clas = "public"
[breaker]
open_s = 0
[declassify]
classify = { lable = "public", label = "secret" }
restore = 1
[redaction]
off = ["person"]
score_min = { PERSON = 2.0, PLACE = 0.5 }
"""


def faults_of(text: str) -> tuple[str, ...]:
    with pytest.raises(PolicyError) as caught:
        parse_policy(text)
    return caught.value.faults


def test_every_fault_is_named_at_once_with_its_key() -> None:
    """
    An author sees the whole list, not the first of many.
    """
    keys = [fault.partition(": ")[0] for fault in faults_of(BROKEN)]

    assert sorted(keys) == sorted(
        [
            "formt",
            "default.strategy",
            "default.guards.p95_ms",
            "default.guards.error_rate",
            "default.guards.min_samples",
            "capabilities.classify.routes[1].pool",
            "capabilities.classify.routes[1].weigth",
            "capabilities.classify.routes[2]",
            "capabilities.classify.routes[3].pool",
            "capabilities.classify.routes[4].weight",
            "capabilities.classify.return_after_s",
            "capabilities.embed.routes",
            "capabilities.No Name",
            "capabilities.No Name.routes",
            "capabilities.No Name.data_classes[0]",
            "scopes.acme.data_clas",
            "breaker.open_s",
            "declassify.classify.lable",
            "declassify.classify.label",
            "declassify.restore",
            "redaction.off[0]",
            "redaction.score_min.PERSON",
        ],
    )


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("= 3", "not TOML"),
        ("default = 1", "default: Expected an object"),
        ("capabilities = 3", "capabilities: Expected an object"),
        (f"format = {FORMAT + 1}", "newer than"),
        ("format = true", "format: Expected a whole number"),
        ('[default]\nstrategy = "fastst"', "did you mean fastest?"),
        ('[default]\nstrategy = "fastest"\nstrategy_options = { drwas = 2 }', "did you mean draws?"),
        ('[default]\nstrategy = "fastest"\nstrategy_options = { draws = 0 }', "default.strategy_options.draws"),
        (
            '[default]\nstrategy = "cascade"\nstrategy_options = { confidence_min = 80 }',
            "default.strategy_options.confidence_min",
        ),
        ("[default]\nstrategy_options = { draws = 2 }", "default.strategy_options.draws: unknown key"),
        (
            '[default]\nstrategy = "fastest"\n[capabilities.a]\nstrategy_options = { draws = "2" }',
            "capabilities.a.strategy_options.draws",
        ),
        ("[default]\nretrun_after_s = 1", "did you mean return_after_s?"),
        ("[default]\nreturn_after_s = inf", "default.return_after_s"),
        ("[default]\ncost_usd_max = nan", "default.cost_usd_max"),
        ('[capabilities."a\\n"]\nstrategy = "split"', "capabilities.a"),
    ],
)
def test_a_fault_says_what_was_expected(text: str, part: str) -> None:
    """
    One fault each, in words that help.
    """
    (fault,) = faults_of(text)

    assert part in fault


def test_what_an_entry_leaves_out_is_taken_from_the_default() -> None:
    """
    Key by key, within guards and probe too.
    """
    policy = parse_policy(
        """
        [default]
        return_after_s = 3
        guards = { p95_ms = 100, min_samples = 7 }
        [capabilities.a]
        strategy = "fastest"
        guards = { error_rate = 0.1, min_samples = 9 }
        """,
    )

    a, b = rules_for(policy, "a"), rules_for(policy, "b")

    assert a is not None
    assert b is not None
    assert (a.strategy, a.return_after_s) == ("fastest", 3.0)
    assert (a.guards.p95_ms, a.guards.error_rate, a.guards.min_samples) == (100.0, 0.1, 9)
    assert (b.strategy, b.guards.min_samples, b.routes) == ("failover", 7, None)
    assert rules_for(Policy(), "a") is None


def test_options_belong_to_the_strategy_that_they_came_with() -> None:
    """An entry with a strategy of its own does not inherit the default's options, one without does."""
    policy = parse_policy(
        """
        [default]
        strategy = "fastest"
        strategy_options = { draws = 3 }
        [capabilities.a]
        strategy = "split"
        [capabilities.b]
        ramp_s = 1
        """
    )

    a, b = rules_for(policy, "a"), rules_for(policy, "b")

    assert a is not None
    assert b is not None
    assert ("split", {}) == (a.strategy, a.strategy_options)
    assert ("fastest", {"draws": 3}) == (b.strategy, b.strategy_options)


def test_a_policy_passes_through_the_bucket_unchanged() -> None:
    """
    TOML and JSON are the same document.
    """
    policy = parse_policy(EXAMPLE.read_text())

    assert policy == decode_policy(msgspec.json.encode(policy))


def test_an_older_reader_passes_over_the_keys_of_a_newer_policy() -> None:
    """
    During a rollout both versions read the same key.
    """
    document = msgspec.json.decode(msgspec.json.encode(parse_policy(EXAMPLE.read_text())))
    document["novelty"] = {"a": 1}
    document["capabilities"]["classify"]["novelty"] = 1
    document["capabilities"]["classify"]["strategy"] = "of-tomorrow"

    policy = decode_policy(msgspec.json.encode(document))

    assert policy.capabilities["classify"].strategy == "of-tomorrow"


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"format": 99}',
        b'{"format": 1, "default": {"return_after_s": -1}}',
        b"\xff",
        b"{}",
        b'{"default": {"return_after_s": 1}}',
        b'{"stream":"KV_policy","seq":3}',
    ],
)
def test_what_is_no_policy_is_refused_with_one_kind_of_error(body: bytes) -> None:
    """
    A reader keeps the policy that was in force, whatever somebody wrote into the bucket.
    """
    with pytest.raises(PolicyError):
        decode_policy(body)


def test_the_example_is_right_and_raises_no_warning() -> None:
    """
    It only names what exists in a fleet of `flotilla up`.
    """
    policy = parse_policy(EXAMPLE.read_text())

    assert warnings(policy, ["local", "cloud"], list(BUILT_IN)) == []
    used = {entry.strategy or "failover" for entry in policy.capabilities.values()}
    assert used <= set(STRATEGIES)
    local_first = {"classify", "extract-entities", "translate", "embed"}
    for name in policy.capabilities:
        rules = rules_for(policy, name)
        assert rules is not None
        assert rules.routes is not None
        assert (rules.routes[0].pool == "local") is (name in local_first)


def test_a_pool_or_a_capability_that_nobody_has_seen_is_a_warning() -> None:
    """
    It may come later, so it is no fault.
    """
    policy = parse_policy(
        """
        [capabilities.clasify]
        routes = [{ pool = "olama", weight = 2 }]
        attempt_timeout_s = 9
        total_timeout_s = 3
        """,
    )

    found = warnings(policy, POOLS, list(BUILT_IN))

    assert [warning.partition(": ")[0] for warning in found] == [
        "capabilities.clasify.routes[0].pool",
        "capabilities.clasify.routes[0].weight",
        "capabilities.clasify.attempt_timeout_s",
        "capabilities.clasify",
    ]
    assert "did you mean ollama?" in found[0]
    assert "did you mean classify?" in found[3]


def test_a_scope_may_have_a_data_class_of_its_own() -> None:
    """
    Internal unless the policy says otherwise.
    """
    policy = parse_policy('[scopes.acme]\ndata_class = "restricted"')

    assert policy.data_class_of("acme") == "restricted"
    assert policy.data_class_of("other") == "internal"


def test_what_is_declassified_is_looked_at() -> None:
    """
    A capability of nobody's may be a mistake, and a field that holds the personal data itself probably is one.
    """
    policy = parse_policy("""
[declassify]
restore = { document = "internal", restored = "public" }
redact = { vault = "internal", found = "public" }
classify = { label = "public" }
mine = { score = "public" }
mien = { score = "public" }
""")

    keys = [warning.partition(": ")[0] for warning in warnings(policy, POOLS, ["mine"])]

    assert ["declassify.restore.document", "declassify.redact.vault", "declassify.mien"] == keys
    assert "public" == decode_policy(msgspec.json.encode(policy)).declassify["mien"]["score"]


def test_types_of_personal_data_are_switched() -> None:
    """
    As an author writes it, and as the bucket holds it.
    """
    policy = parse_policy('[redaction]\noff = ["GROUP", "CASE"]\nscore_min = { PERSON = 0.5 }')

    assert (["GROUP", "CASE"], {"PERSON": 0.5}) == (policy.redaction.off, policy.redaction.score_min)
    assert policy == decode_policy(msgspec.json.encode(policy))


def test_a_capability_that_there_is_was_not_misspelt() -> None:
    """
    Nobody serves it now; one of a similar name is another.
    """
    policy = parse_policy('[capabilities.reason]\nstrategy = "failover"')

    assert ["capabilities.reason: no live pool serves a capability of that name"] == warnings(
        policy, POOLS, ["restore"]
    )
