"""The engine that redacts and restores, and the vaults in which the values are kept, encrypted, meanwhile."""
