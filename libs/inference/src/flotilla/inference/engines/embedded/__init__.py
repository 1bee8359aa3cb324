"""
The embedded engine: deterministic, on the CPU, without a model.

Extractive summaries and reports, entities by pattern, classification by words, embeddings by hashing. It is honest
about itself: `provider` is `embedded` in every result, and it announces only what it really does.
"""

from flotilla.inference.engines.embedded.engine import EmbeddedEngine

__all__ = ["EmbeddedEngine"]
