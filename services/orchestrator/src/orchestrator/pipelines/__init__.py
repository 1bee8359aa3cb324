"""Pipelines: an executor whose tasks are runs, each of whose steps is a task of another executor."""
