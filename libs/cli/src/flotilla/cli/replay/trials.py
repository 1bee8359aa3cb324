"""The policies that are tried on a recording: files, single models, and strategies written on the command line."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from flotilla.chassis.policy_toml import read_policy
from flotilla.cli.replay.errors import ReplayError
from flotilla.cli.replay.figures import PolicyFigures, figures_of
from flotilla.cli.replay.ratings import is_rated, rated
from flotilla.cli.replay.recorded_fleet import OWN_POOL, RecordedFleet
from flotilla.cli.replay.recording import Recording
from flotilla.cli.replay.simulation import RATE_PER_S_DEFAULT, SEED_DEFAULT, Outage, simulate
from flotilla.contracts.policy import CapabilityPolicy, Policy, RouteEntry
from flotilla.contracts.policy_rules import rules_for
from flotilla.routing.policy_check import parse_policy

CAPABILITY_DEFAULT = "classify"
ASKED = 2
"""How many models a consensus of the command line asks at the same time; a policy may say otherwise."""
MODELS_MIN = 2
CASCADE = "cascade"
BY_LABEL = "(by label)"
"""Of a cascade whose confidences are how often such answers agreed with the model behind, in the recording itself."""


class Trial(Struct, frozen=True, kw_only=True):
    """A policy to be tried."""

    name: str
    policy: Policy


def play(
    trial: Trial,
    recording: Recording,
    capability: str,
    *,
    rate_per_s: float = RATE_PER_S_DEFAULT,
    seed: int = SEED_DEFAULT,
    outages: tuple[Outage, ...] = (),
) -> PolicyFigures:
    """
    What a trial comes to; a cascade without recorded confidences has those of `ratings.py`, and its name says so.

    Raises:
        ReplayError: Its routes do not fit the recording.
    """
    try:
        fleet = RecordedFleet(trial.policy, capability, recording.models)
    except ReplayError as error:
        raise ReplayError(f"{trial.name}: {error}") from error
    name, rules = trial.name, rules_for(trial.policy, capability)
    if rules is not None and rules.strategy == CASCADE:
        models = [fleet.name_of(entry) for entry in rules.routes or ()]
        if not all(is_rated(recording, model) for model in models[:-1]):
            recording, name = rated(recording, models), f"{name} {BY_LABEL}"
    outcomes = simulate(
        recording,
        trial.policy,
        fleet,
        rate_per_s=rate_per_s,
        seed=seed,
        outages=outages,
    )
    return figures_of(name, outcomes)


def single_models(recording: Recording, capability: str) -> list[Trial]:
    """Each recorded model alone."""
    return [Trial(name=model, policy=_policy(capability, "failover", [model])) for model in recording.models]


def of_file(path: Path, capability: str, confidences: Sequence[float]) -> list[Trial]:
    """The policy of a file; where it is a cascade and thresholds are given, once for each of them."""
    policy = parse_policy(read_policy(path))
    rules = rules_for(policy, capability)
    if rules is None or rules.strategy != CASCADE or not confidences:
        return [Trial(name=path.stem, policy=policy)]
    routes = list(rules.routes or ())
    anyway = bool(rules.strategy_options.get("answer_anyway", True))
    return [_cascade(path.stem, capability, routes, confidence, answer_anyway=anyway) for confidence in confidences]


def cascades(text: str, recording: Recording, capability: str, confidences: Sequence[float]) -> list[Trial]:
    """`cheap,dear,...`: the models of a cascade in order, once for each threshold."""
    models = _models(text, recording, "--cascade")
    routes = [RouteEntry(pool=OWN_POOL, model=model) for model in models]
    return [_cascade(" > ".join(models), capability, routes, confidence) for confidence in confidences]


def consensus(text: str, recording: Recording, capability: str) -> Trial:
    """`one,other,behind...`: two models that are asked at the same time, and those behind for where they do not agree."""
    models = _models(text, recording, "--consensus")
    behind = "".join(f" > {model}" for model in models[ASKED:])
    name = " = ".join(models[:ASKED]) + behind
    return Trial(name=name, policy=_policy(capability, "consensus", models))


def outage(text: str, recording: Recording) -> Outage:
    """`MODEL:FROM-TO`: a model that is away for a part of the recording, in shares of it from 0 to 1."""
    model, _, span = text.rpartition(":")
    begin, _, end = span.partition("-")
    try:
        shares = float(begin), float(end)
    except ValueError:
        shares = (-1.0, -1.0)
    if not 0.0 <= shares[0] < shares[1] <= 1.0:
        raise ReplayError(f"--outage {text}: expected MODEL:FROM-TO, shares of the recording such as 0.25-0.5")
    _models(model, recording, "--outage", count_min=1)
    count = len(recording.rows)
    return Outage(model=model, begin=round(shares[0] * count), end=round(shares[1] * count))


def _cascade(
    name: str, capability: str, routes: list[RouteEntry], confidence: float, *, answer_anyway: bool = True
) -> Trial:
    options = {"confidence_min": confidence, "answer_anyway": answer_anyway}
    entry = CapabilityPolicy(strategy=CASCADE, strategy_options=options, routes=routes)
    return Trial(name=f"{name} at {confidence:g}", policy=Policy(capabilities={capability: entry}))


def _policy(capability: str, strategy: str, models: Sequence[str]) -> Policy:
    routes = [RouteEntry(pool=OWN_POOL, model=model) for model in models]
    return Policy(capabilities={capability: CapabilityPolicy(strategy=strategy, routes=routes)})


def _models(text: str, recording: Recording, option: str, *, count_min: int = MODELS_MIN) -> list[str]:
    models = [name.strip() for name in text.split(",")]
    unknown = next((name for name in models if name not in recording.models), None)
    if unknown is not None:
        raise ReplayError(f"{option}: {unknown} was not recorded; recorded are {', '.join(recording.models)}")
    if len(models) < count_min or len(set(models)) < len(models):
        raise ReplayError(f"{option} {text}: expected at least {count_min} models, each once, with commas between them")
    return models
