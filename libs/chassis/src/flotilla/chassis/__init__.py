"""What every deployable has: settings, logs, metrics, probes, signals, graceful leave."""
