"""The worker kit: capability catalogue, prompts, validation, the backend ports, engines and adapters."""
