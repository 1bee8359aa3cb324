"""How tasks come in, durable and interactive, and how they are settled."""
