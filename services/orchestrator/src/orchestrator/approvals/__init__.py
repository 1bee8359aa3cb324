"""Tasks that wait for a person's word: their requests, the gate that they stand at, and where they are kept meanwhile."""
