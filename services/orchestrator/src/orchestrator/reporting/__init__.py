"""What is told of tasks: events, metrics, traces."""
