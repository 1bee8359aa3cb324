"""What a policy would leave without a live route, compared with a fleet without one."""

from hypothesis import given
from hypothesis import strategies as st

from flotilla.contracts.policy import CapabilityPolicy, Policy, RouteEntry
from flotilla.routing.compiled import CompiledPolicy
from flotilla.routing.policy_check import parse_policy
from flotilla.routing.types import FleetView, PoolView
from flotilla.routing.unserved import unserved

CAPABILITIES = ("chat", "classify", "embed")
ANYTHING = frozenset(CAPABILITIES)
POOLS = ("local", "cloud", "nobody")


def fleet_of(**serving: frozenset[str]) -> FleetView:
    return FleetView(
        pools={
            name: PoolView(
                zone="cloud" if name == "cloud" else "local",
                pool=name,
                models={"m": capabilities},
                replicas=1,
                slots=1,
                labels={"region": "eu"},
            )
            for name, capabilities in serving.items()
        }
    )


def left_by(toml: str, fleet: FleetView) -> list[str]:
    return unserved(CompiledPolicy(parse_policy(toml)), fleet, CAPABILITIES)


def test_a_policy_of_pools_that_are_not_there_leaves_everything() -> None:
    """
    As a policy for a cluster does on a machine whose pools have other names.
    """
    both = fleet_of(local=ANYTHING, cloud=ANYTHING)

    assert left_by('[default]\nroutes = [{ pool = "ollama" }]\n', both) == list(CAPABILITIES)
    assert left_by('[capabilities.chat]\nroutes = [{ pool = "ollama" }]\n', both) == ["chat"]
    assert left_by('[default]\nroutes = [{ pool = "ollama" }, { pool = "cloud" }]\n', both) == []


def test_what_a_policy_rules_out_by_its_other_keys_is_left_too() -> None:
    """
    Models, labels of pools, data classes that only the absent zone may hold; not a label that a caller can give.
    """
    cloud = fleet_of(cloud=frozenset({"chat"}))

    assert left_by('[capabilities.chat]\nroutes = [{ pool = "cloud", model = "n" }]\n', cloud) == ["chat"]
    assert left_by('[default]\npool_labels = { region = "us" }\n', cloud) == ["chat"]
    assert left_by('[default]\ndata_classes = ["restricted"]\n', cloud) == ["chat"]
    assert left_by('[default]\ndata_classes = ["restricted", "internal"]\n', cloud) == []
    assert left_by('[default]\ntask_labels = ["team"]\n', cloud) == []


def test_what_no_pool_serves_is_not_the_policys_doing() -> None:
    """
    Also where the fleet holds a capability to a model that is gone.
    """
    nobody = '[default]\nroutes = [{ pool = "nobody" }]\n'

    assert left_by(nobody, fleet_of(local=frozenset({"chat"}))) == ["chat"]
    held = CompiledPolicy(parse_policy(nobody), {"embed": "gone"})
    assert unserved(held, fleet_of(local=ANYTHING), CAPABILITIES) == ["chat", "classify"]


@given(
    serving=st.dictionaries(st.sampled_from(POOLS[:2]), st.frozensets(st.sampled_from(CAPABILITIES), min_size=1)),
    listed=st.dictionaries(st.sampled_from(CAPABILITIES), st.lists(st.sampled_from(POOLS), min_size=1, unique=True)),
)
def test_left_is_what_somebody_serves_and_nobody_that_is_listed(
    serving: dict[str, frozenset[str]], listed: dict[str, list[str]]
) -> None:
    """
    Whatever is live and whatever is listed.
    """
    policy = Policy(
        capabilities={
            name: CapabilityPolicy(routes=[RouteEntry(pool=pool) for pool in pools]) for name, pools in listed.items()
        }
    )
    expected = [
        name
        for name in CAPABILITIES
        if any(name in serves for serves in serving.values())
        and not any(name in serving.get(pool, ()) for pool in listed.get(name, POOLS))
    ]

    assert unserved(CompiledPolicy(policy), fleet_of(**serving), CAPABILITIES) == expected
