"""
Where a task may go, and in what order: pure decisions, no I/O.

`types.py` has the values that go in and come out; `default.py` is the routing of a fleet without a policy, and
`policy_routing.route` the one decision that everything else serves:

    attempts ─▶ recorder ─▶ stats (merged) ─▶ observation ─▶ health ─┐
                                                policy ─▶ compiled ──┼─▶ policy_routing.route ─▶ Decision
                                              presence ─▶ fleet view ┘     candidates, a strategy, probes

`router.PolicyRouter` holds the state of one orchestrator and is what gets wired.
"""
