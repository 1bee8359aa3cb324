"""The benchmark's provider without a model, asked as workers ask, and directly."""

import asyncio

import pytest

from flotilla.cli.bench.chat_throughput import asking, chat_body
from flotilla.cli.bench.errors import WrongAnswerError
from flotilla.cli.bench.provider_stand_in import ANSWER, MODEL, Provider, provider_standing_in
from flotilla.cli.bench.traffic import closed_loop
from flotilla.inference.adapters.egress import Egress
from flotilla.inference.adapters.openai_chat import OpenAIChat
from flotilla.inference.backend import ModelCall, Turn
from flotilla.testkit.provider_openai import OpenAIServer

CALL = ModelCall(model=MODEL, system="", turns=(Turn(role="user", content="hello"),), timeout_s=10.0)


async def test_an_adapter_and_a_plain_client_get_the_same_answer():
    """
    What is compared is one and the same thing.
    """
    async with provider_standing_in() as provider, asking(provider) as directly:
        model = OpenAIChat(
            api_key=None, base_url=provider.url, provider="openai-compatible", egress=Egress(zone="local")
        )
        answer = await model.complete(CALL)
        listed = await model.models(timeout_s=10.0)
        await model.aclose()
        loop = await closed_loop(directly, in_flight=8, duration_s=0.0)

    assert (ANSWER, MODEL, 12) == (answer.text, answer.model, answer.usage.output_tokens)
    assert [MODEL] == listed
    assert len(loop.latencies_ms) >= 8


async def test_a_request_in_pieces_and_several_in_one_are_answered_each_once():
    """
    TCP keeps the order and nothing else.
    """
    body = chat_body(200)
    request = f"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    async with provider_standing_in() as provider:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(provider.url.split(":")[2].split("/")[0]))
        for start in range(0, len(request), 7):
            writer.write(request[start : start + 7])
            await writer.drain()
        writer.write(request * 2)
        answers = b""
        async with asyncio.timeout(60):
            while answers.count(ANSWER.encode()) < 3:
                answers += await reader.read(65_536)
        writer.close()
        await writer.wait_closed()

    assert 3 == answers.count(b"HTTP/1.1 200 OK")


async def test_another_answer_than_the_stand_ins_is_no_measurement():
    """
    A fast error would look like a fast provider.
    """
    async with OpenAIServer() as server, asking(Provider(0, f"{server.url}/v1")) as directly:
        with pytest.raises(WrongAnswerError):
            await directly()


@pytest.mark.parametrize("size_bytes", [200, 1024, 4096])
def test_a_conversation_has_the_size_that_was_asked_for(size_bytes: int):
    """
    Both ways carry the same.
    """
    assert size_bytes == len(chat_body(size_bytes))
