"""
The wire: message types, subjects, headers, failure kinds. No I/O.

One module per noun; import from the module (`from flotilla.contracts.results import Result`).
"""
