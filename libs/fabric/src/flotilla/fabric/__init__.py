"""Flotilla on NATS; the only importer of nats: connection, lanes, slots, calls, worklist, KV, presence, topology."""
