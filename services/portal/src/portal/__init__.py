"""Flotilla's portal: the fleet, live, in a browser."""

__version__ = "0.1.0"
