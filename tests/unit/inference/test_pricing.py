"""What answers cost."""

import subprocess
import sys
from typing import Any

import msgspec
import pytest
from genai_prices import Usage as ListUsage
from genai_prices import calc_price
from genai_prices.data_snapshot import get_snapshot
from msgspec import UNSET, UnsetType

from flotilla.contracts.presence import ModelPrice
from flotilla.inference.adapters import pricing
from flotilla.inference.adapters.pricing import FREE, NAMES_MAX, cost_usd, known_price
from flotilla.inference.provider_choice import serving_in
from flotilla.inference.provider_settings import settings_of

PLAIN = {"input_tokens": 1234, "output_tokens": 567}
CACHED = {"input_tokens": 9000, "output_tokens": 10, "cache_read_tokens": 4000, "cache_write_tokens": 3000}
LONG = {"input_tokens": 900_000, "output_tokens": 20_000, "cache_read_tokens": 100_000}


@pytest.fixture(autouse=True)
def _no_names():
    """Each test with a list that was asked for nothing."""
    pricing.names_looked_up.clear()
    yield
    pricing.names_looked_up.clear()


@pytest.mark.parametrize(
    ("provider", "model", "expected_usd"),
    [
        ("openai", "gpt-4o", 2.5 + 10.0),
        ("openai", "gpt-4o-2024-08-06", 2.5 + 10.0),
        ("anthropic", "claude-haiku-4-5-20251001", 1.0 + 5.0),
        ("gemini", "gemini-2.5-flash", 0.3 + 2.5),
        ("gemini", "models/gemini-2.5-flash", 0.3 + 2.5),
    ],
)
def test_a_million_tokens_each_way_cost_what_the_price_list_says(provider: str, model: str, expected_usd: float):
    """
    Dated names and Gemini's prefix included.
    """
    assert pytest.approx(expected_usd) == cost_usd(provider, model, input_tokens=1_000_000, output_tokens=1_000_000)


def test_cached_input_costs_less_and_cached_anew_costs_more():
    """
    Both are parts of the input.
    """
    plain = cost_usd("anthropic", "claude-haiku-4-5", input_tokens=1000, output_tokens=0)
    assert plain is not None
    read = cost_usd("anthropic", "claude-haiku-4-5", input_tokens=1000, output_tokens=0, cache_read_tokens=1000)
    written = cost_usd("anthropic", "claude-haiku-4-5", input_tokens=1000, output_tokens=0, cache_write_tokens=1000)

    assert read is not None
    assert written is not None
    assert read < plain < written


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "no-such-model"), ("no-such-provider", "gpt-4o"), ("openai", ""), ("", "")]
)
def test_what_is_not_on_the_list_has_no_known_cost(provider: str, model: str):
    """
    Nothing would be a guess as well.
    """
    assert cost_usd(provider, model, input_tokens=1000, output_tokens=1000) is None


@pytest.mark.parametrize("provider", sorted(FREE))
def test_ones_own_hardware_costs_nothing(provider: str):
    """
    Whatever the model is called.
    """
    assert 0.0 == cost_usd(provider, "gpt-4o", input_tokens=1000, output_tokens=1000)


def test_every_price_is_what_the_list_itself_says():
    """
    Of every model, tiers and prices by the hour included.
    """
    differs: list[str] = []
    for provider in get_snapshot().providers:
        for model in provider.models:
            for counts in (PLAIN, CACHED, LONG):
                try:
                    listed = float(calc_price(ListUsage(**counts), model.id, provider_id=provider.id).total_price)
                except (LookupError, ValueError):
                    continue
                ours = cost_usd(provider.id, "", asked=model.id, **counts) or 0.0
                if provider.id not in FREE and ours != pytest.approx(listed, rel=1e-6, abs=1e-9):
                    differs.append(f"{provider.id} {model.id}: {ours} {listed}")
    assert [] == differs


def test_ever_new_names_are_not_looked_up_for_ever():
    """
    The model that was asked for has its price all the same.
    """
    for number in range(NAMES_MAX + 10):
        assert cost_usd("openai", f"new-{number}", input_tokens=1, output_tokens=1) is None
    assert (cost_usd("openai", "new", asked="gpt-4o", input_tokens=1, output_tokens=1) or 0.0) > 0


def test_counts_that_make_no_sense_have_no_price():
    """
    Whoever counted.
    """
    assert cost_usd("openai", "gpt-4o", input_tokens=-5, output_tokens=3) is None


GUARDED = """
import sys

def refuse(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        raise SystemExit("network: " + event)

sys.addaudithook(refuse)
from flotilla.inference.adapters.pricing import cost_usd, load
assert "genai_prices" not in sys.modules, "loaded too early"
load("ollama")
cost_usd("vllm", "gpt-4o", input_tokens=1, output_tokens=1)
assert "genai_prices" not in sys.modules, "loaded for a free provider"
load("openai")
print(cost_usd("openai", "gpt-4o", input_tokens=1_000_000, output_tokens=0))
"""


def test_the_price_list_is_loaded_late_and_never_fetched():
    """
    In a process that may not open a connection, nor look a name up.
    """
    done = subprocess.run([sys.executable, "-c", GUARDED], capture_output=True, text=True, timeout=60, check=False)

    assert ("2.5", "", 0) == (done.stdout.strip(), done.stderr, done.returncode)


def test_a_models_card_says_what_a_call_costs_before_it_is_made():
    """
    By the list; by what its own hardware costs where the list has nothing; nothing where nobody knows.
    """

    def cards(models: str, **more: Any) -> list[ModelPrice | UnsetType]:
        kind = settings_of("cloud")
        given = {"zone": "cloud", "pool": "p", "provider": "openai", "models": models, "openai_api_key": "k", **more}
        return [card.price for card in serving_in("cloud", msgspec.convert(given, kind)).models]

    listed, unlisted = cards("gpt-4o,mine", output_tokens_max="gpt-4o=100")
    own = cards("mine", price_per_mtok_usd=3.0, price_per_call_usd=0.5)

    assert isinstance(listed, ModelPrice)
    assert (pytest.approx(2.5), pytest.approx(10.0), 100) == (
        listed.input_mtok_usd,
        listed.output_mtok_usd,
        listed.output_tokens_max,
    )
    assert UNSET is unlisted
    assert [ModelPrice(call_usd=0.5, input_mtok_usd=3.0, output_mtok_usd=3.0)] == own


@pytest.mark.parametrize(
    ("provider", "model"), [("openai", "gpt-4o"), ("anthropic", "claude-haiku-4-5"), ("gemini", "gemini-2.5-pro")]
)
def test_what_a_card_says_is_what_a_call_costs(provider: str, model: str):
    """
    Of a call that is no longer than the first tier.
    """
    price = known_price(provider, model)
    assert price is not None
    cost = cost_usd(provider, model, input_tokens=9_000, output_tokens=700)
    assert pytest.approx(cost) == price.usd(input_tokens=9_000, output_tokens=700)
    assert known_price("ollama", model) is None
