"""Answers that are kept, and given to later tasks of the same input; of tasks at the same moment one asks a model."""
