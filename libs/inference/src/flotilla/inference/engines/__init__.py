"""
Backends that need no model.

`embedded` really does what it announces, with rules and statistics on the CPU; `noop` answers everything at once with
output that is valid and means nothing, for tests, benchmarks and chaos runs.
"""
