"""How a fleet's NATS is set up: roles, credentials, server configuration, streams, secrets, a server of one's own."""
