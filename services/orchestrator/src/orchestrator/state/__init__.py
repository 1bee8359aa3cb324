"""What this orchestrator holds: tasks, attempts, the fleet's pools, shares of its room."""
