"""Recorded traffic played through policies in simulated time: what each would have cost, taken and got right."""
