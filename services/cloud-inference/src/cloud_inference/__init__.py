"""The worker for proprietary APIs."""
