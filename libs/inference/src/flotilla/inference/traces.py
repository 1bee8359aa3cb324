"""
The worker's part in a trace: a span around the answer to one attempt, under the orchestrator's span of that attempt.

Tokens are not on it: they stand once in a trace, on the attempt, so that whoever adds them up does not count them twice.
"""

from flotilla.chassis import gen_ai
from flotilla.chassis.tracing import Tracer
from flotilla.contracts.attempts import Failed, Finished
from flotilla.fabric.slots import ActiveAttempt, Work


def traced_work(work: Work, tracer: Tracer, provider: str) -> Work:
    """The same work with a span around each attempt; the work itself when traces are off."""
    if not tracer.on:
        return work

    async def with_span(held: ActiveAttempt) -> Finished | Failed:
        request = held.request
        operation = gen_ai.operation_of(request.capability)
        attributes = {
            gen_ai.OPERATION: operation,
            gen_ai.PROVIDER: provider,
            gen_ai.REQUEST_MODEL: request.model,
            "flotilla.task.id": request.task,
            "flotilla.capability": request.capability,
        }
        span = tracer.begin(f"{operation} {request.model}".rstrip(), "server", attributes, parent=request.options)
        try:
            answer = await work(held)
        except BaseException:
            # Told to stop: the orchestrator waits no more, or this replica leaves.
            span.end({"flotilla.outcome": "interrupted"}, error="interrupted")
            raise
        if isinstance(answer, Finished):
            span.end({"flotilla.outcome": "ok", gen_ai.RESPONSE_MODEL: answer.model})
        else:
            span.end({"flotilla.outcome": answer.kind.value}, error=answer.kind.value)
        return answer

    return with_span
