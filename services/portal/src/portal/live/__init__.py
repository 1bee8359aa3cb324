"""What is known of the fleet now: replicas, routes, events and figures, read as an observer and kept within bounds."""
