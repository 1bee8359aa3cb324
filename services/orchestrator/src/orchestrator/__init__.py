"""The orchestrator: intake, routing, dispatch, commit."""
