"""What a provider says of an error, on its way to the operator and to the caller."""

import json
from pathlib import Path

from flotilla.testkit.fleet import running_fleet
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Fails

SAID = "The model is not available on your plan, said of the letter to Winifred Oduya"
DOCUMENT = "Dear Winifred Oduya, your invoice is wrong."


async def test_a_providers_sentence_is_in_the_result_and_in_the_log_and_the_document_is_in_neither(tmp_path: Path):
    """
    Both say what to mend; the log says it once, however often it happens.
    """
    async with OpenAIServer() as server, running_fleet(tmp_path, local=0) as fleet:
        server.otherwise = Fails(400, message=SAID)
        environ = {"OPENAI_BASE_URL": f"{server.url}/v1", "FLOTILLA_MODELS": "m"}
        worker = await fleet.start_worker(engine="vllm", env=environ)
        client = await fleet.client()
        results = [(await client.ask("summarize", {"document": DOCUMENT})).result for _ in range(3)]
        logged = [json.loads(line) for line in worker.log_text().splitlines() if "attempt_failed" in line]

    sentence = "vllm: HTTP 400 invalid_request_error: The model is not available on your plan, …"
    for result in results:
        [attempt] = result["attempts"]
        assert attempt["message"].startswith(sentence)
    assert [("summarize", "refused")] == [(line["capability"], line["kind"]) for line in logged]
    assert logged[0]["reason"].startswith(sentence)
    assert "Winifred" not in json.dumps([results, logged])
