"""The policies that users copy from: the example and the documentation's."""

import re
from pathlib import Path

import msgspec
import pytest

from flotilla.contracts.limits import BudgetEntry, LimitEntry
from flotilla.contracts.policy import (
    BreakerPolicy,
    CapabilityPolicy,
    GuardsEntry,
    HedgeEntry,
    Policy,
    ProbeEntry,
    ShadowEntry,
)
from flotilla.contracts.policy_rules import Hedge, Rules, Shadow
from flotilla.contracts.redaction import RedactionPolicy
from flotilla.routing.policy_check import parse_policy, warnings
from flotilla.routing.strategies import STRATEGIES

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "routing.md").read_text()
ECONOMY = (ROOT / "docs" / "economy.md").read_text()
EXAMPLE = (ROOT / "examples" / "policy.toml").read_text()
DOCUMENTS = [EXAMPLE, *re.findall(r"```toml\n(.*?)```", PAGE + ECONOMY, re.DOTALL)]
POOLS = {"ollama", "anthropic", "openai", "local", "cloud"}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_a_documented_policy_is_one_without_a_warning(document: str):
    """
    On a fleet whose pools have the names that the page and the example use.
    """
    policy = parse_policy(document)

    assert warnings(policy, POOLS, policy.capabilities.keys()) == []


def test_every_key_is_documented():
    """
    In the table, as it is written in a policy.
    """
    keys = {field.name for field in msgspec.structs.fields(CapabilityPolicy)} - {"guards", "probe", "hedge", "shadow"}
    keys |= {f"guards.{field.name}" for field in msgspec.structs.fields(GuardsEntry)}
    keys |= {f"probe.{field.name}" for field in msgspec.structs.fields(ProbeEntry)}
    keys |= {f"hedge.{field.name}" for field in msgspec.structs.fields(HedgeEntry)}
    keys |= {f"shadow.{field.name}" for field in msgspec.structs.fields(ShadowEntry)}
    keys |= {field.name for field in msgspec.structs.fields(BreakerPolicy)}
    keys |= {field.name for field in msgspec.structs.fields(RedactionPolicy)}
    tables = {
        "capabilities",
        "default",
        "scopes",
        "breaker",
        "redaction",
        "declassify",
        "limits",
        "budgets",
        "approvers",
    }
    keys |= {field.name for field in msgspec.structs.fields(Policy)} - tables

    assert [] == sorted(key for key in keys if f"`{key}`" not in PAGE)
    economy = {field.name for kind in (LimitEntry, BudgetEntry) for field in msgspec.structs.fields(kind)}
    assert [] == sorted(key for key in economy if f"`{key}`" not in ECONOMY)
    assert [] == sorted(table for table in tables if f"[{table}" not in PAGE)
    rows = {
        name: next((row for row in PAGE.splitlines() if row.startswith(f"| `{name}` |")), "") for name in STRATEGIES
    }
    assert [] == [name for name, row in rows.items() if not row]
    options = {
        (name, field.name) for name, each in STRATEGIES.items() for field in msgspec.structs.fields(each.parameters)
    }
    assert [] == [(name, option) for name, option in options if f"`{option}` (" not in rows[name]]


def test_the_documented_defaults_are_those_of_the_code():
    """
    Row by row, where the default is a number.
    """
    rows = dict(re.findall(r"^\| `([a-z0-9_.]+)` \| ([0-9.]+) \|", PAGE, re.MULTILINE))
    rules = Rules(hedge=Hedge(), shadow=Shadow(pool="any"))
    found = {
        key: getattr(getattr(rules, key.split(".")[0]), key.split(".")[1]) if "." in key else getattr(rules, key)
        for key in rows
    }

    assert len(rows) >= 8
    assert {key: float(value) for key, value in rows.items()} == found
