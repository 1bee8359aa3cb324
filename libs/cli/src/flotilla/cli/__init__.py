"""The `flotilla` command, the fleet on one machine (`up`), the benchmark and the demo."""
