"""Who may do what: people and their roles, sessions, and the credentials that each of them acts with."""
