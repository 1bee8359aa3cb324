"""What `api.<verb>` answers."""
