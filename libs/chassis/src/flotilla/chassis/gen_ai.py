"""
The names that the OpenTelemetry GenAI conventions give to what models do; metrics and spans both use them.

https://opentelemetry.io/docs/specs/semconv/gen-ai/
"""

from typing import Final

OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"


def operation_of(capability: str) -> str:
    """What a capability asks of a model: `embeddings` or `chat`."""
    return "embeddings" if capability == "embed" else "chat"
