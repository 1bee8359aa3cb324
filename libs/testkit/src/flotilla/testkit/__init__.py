"""A real nats-server on a free port, scripted backends, builders. For tests only."""
