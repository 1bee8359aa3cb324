"""The processes of a fleet on one machine: started, watched, started again, and drained in order."""
