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


async def test_the_key_and_the_headers_of_a_gateway_are_in_neither(tmp_path: Path):
    """
    Though the gateway repeats them, in a refusal of something else.
    """
    async with OpenAIServer() as server, running_fleet(tmp_path, local=0) as fleet:
        server.otherwise = Fails(400, message="The team harbour-pilots with key lighthouse is over its limit")
        environ = {
            "OPENAI_BASE_URL": f"{server.url}/v1",
            "OPENAI_API_KEY": "sk-lighthouse",
            "FLOTILLA_MODELS": "m",
            "FLOTILLA_PROVIDER_HEADERS": "x-team: harbour-pilots",
        }
        worker = await fleet.start_worker(engine="vllm", env=environ)
        client = await fleet.client()
        answer = await client.ask("summarize", {"document": DOCUMENT})
        logged = worker.log_text()

    told = "The team … with key … is over its limit"
    assert told in json.dumps(answer.result["attempts"], ensure_ascii=False)
    assert told in "".join(json.loads(line).get("reason", "") for line in logged.splitlines())
    assert not [word for word in ("harbour", "pilots", "lighthouse") if word in f"{answer.result}{logged}"]
