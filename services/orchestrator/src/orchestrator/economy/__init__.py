"""What the fleet may ask of providers, may spend, and has spent: limits, budgets and the ledger."""
