"""The benchmark: a fleet of processes on this machine against raw NATS on the same server, as ratios of one run."""
