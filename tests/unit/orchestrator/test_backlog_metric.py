"""The gauge of the backlog: one series for each capability that is served or has tasks waiting, and no more."""

from flotilla.routing.router import PolicyRouter
from orchestrator.reporting.gauges import OrchestratorGauges
from orchestrator.state.fleet import Fleet

CLASSIFY = ("acme", "classify", "normal")


def test_the_backlog_forgets_what_nobody_serves():
    """
    What is served shows as 0 once it is worked off; a name that a worker announced for a moment is gone with its tasks.
    """
    gauges = OrchestratorGauges(Fleet(), PolicyRouter("o1"))
    other = {("beta", "classify", "low"): 7}
    gauges.backlog_is("beta", other, {"classify"})
    for number in range(100):
        gauges.backlog_is("acme", {CLASSIFY: 3, ("acme", f"x-{number}", "normal"): 1}, {"classify", f"x-{number}"})
    gauges.backlog_is("acme", {}, {"classify"})

    assert {CLASSIFY: 0} | other == gauges.backlog
