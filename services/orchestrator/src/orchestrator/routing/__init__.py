"""
Where a task may go, and in what order: pure decisions, no I/O.

`types.py` has the values that go in and come out; `default.py` is the routing of a fleet without a policy.
"""
