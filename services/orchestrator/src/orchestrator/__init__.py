"""The orchestrator: intake, routing, dispatch, commit."""

__version__ = "0.1.0"
