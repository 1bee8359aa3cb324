"""The worker for models on your own hardware."""
