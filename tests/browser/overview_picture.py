"""
The picture of the portal in the docs: a real fleet whose models are stand-ins that speak their providers' protocols.

    make portal-picture
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any, Final

from flotilla.inference.redaction.vault_keys import new_key
from flotilla.testkit.browser_page import BrowserPage, running_browser
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import BODIES, PlainClient, new_task
from flotilla.testkit.portal import start_portal
from flotilla.testkit.provider_anthropic import AnthropicServer
from flotilla.testkit.provider_ollama import OllamaServer
from flotilla.testkit.provider_openai import OpenAIServer
from flotilla.testkit.provider_steps import Received, Says

LASTS_S: Final = 150.0
SLOW_AFTER_S: Final = 110.0
CALLS_PER_S: Final = 9.0
LABELS: Final = {"Flotilla-Label-team": "claims"}
KEY: Final = new_key()
WIDTH: Final = 1440
HEIGHT: Final = 900
POLICY: Final = """
format = 1

[default]
routes = [{ pool = "ollama" }, { pool = "vllm" }, { pool = "redaction" }, { pool = "anthropic" }, { pool = "openai" }]

[capabilities.classify]
routes = [{ pool = "ollama" }, { pool = "vllm" }]
guards = { p95_ms = 500 }

[capabilities.summarize]
strategy = "split"
routes = [{ pool = "anthropic", weight = 2 }, { pool = "openai", weight = 1 }]
"""


class Pace:
    """How long a stand-in takes; may be changed while it serves."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s
        self._random = Random(7)

    def __call__(self, received: Received) -> Says:
        """Answer a label where one is asked for, else a sentence."""
        hold = asyncio.Event()
        asyncio.get_running_loop().call_later(self.takes_s * self._random.uniform(0.7, 1.4), hold.set)
        wants_label = "labels" in json.dumps(received.body) and "billing" in json.dumps(received.body)
        text = '{"label": "billing", "confidence": 0.93}' if wants_label else "She was charged twice and wants it back."
        return Says(text=text, input_tokens=self._random.randint(300, 900), output_tokens=80, hold=hold)


async def serve(stack: AsyncExitStack, fleet: RunningFleet) -> Pace:
    """Start the workers, each with a stand-in behind it; gives the pace of the one that becomes slow."""
    slow = Pace(0.12)
    ollama = await stack.enter_async_context(OllamaServer(models=("llama3.2:3b",)))
    vllm = await stack.enter_async_context(OpenAIServer())
    openai = await stack.enter_async_context(OpenAIServer())
    anthropic = await stack.enter_async_context(AnthropicServer())
    for server, pace in ((ollama, slow), (vllm, Pace(0.2)), (openai, Pace(0.5)), (anthropic, Pace(0.9))):
        server.otherwise = pace
    local = {"FLOTILLA_CAPABILITIES": "classify,chat"}
    await fleet.start_worker(
        "local", "ollama", engine="ollama", slots=4,
        env={**local, "OLLAMA_HOST": ollama.url, "FLOTILLA_MODELS": "llama3.2:3b"},
    )  # fmt: skip
    await fleet.start_worker(
        "local", "vllm", engine="vllm", slots=8,
        env={**local, "OPENAI_BASE_URL": f"{vllm.url}/v1", "FLOTILLA_MODELS": "Qwen/Qwen3-8B"},
    )  # fmt: skip
    for _ in range(2):
        await fleet.start_worker("local", "redaction", engine="redaction", slots=4, env={"FLOTILLA_VAULT_KEY": KEY})
    cloud = {"FLOTILLA_CAPABILITIES": "summarize"}
    await fleet.start_worker(
        "cloud", "openai", engine="openai", slots=6,
        env={**cloud, "OPENAI_BASE_URL": f"{openai.url}/v1", "OPENAI_API_KEY": "k", "FLOTILLA_MODELS": "gpt-5-mini"},
    )  # fmt: skip
    await fleet.start_worker(
        "cloud", "anthropic", engine="anthropic", slots=6,
        env={**cloud, "ANTHROPIC_BASE_URL": anthropic.url, "ANTHROPIC_API_KEY": "k", "FLOTILLA_MODELS": "claude-sonnet-4-5"},
    )  # fmt: skip
    return slow


async def traffic(client: PlainClient, slow: Pace) -> None:
    """Calls of every kind for LASTS_S; late in it one model becomes slow, and its route is left."""
    random = Random(11)
    running: set[asyncio.Task[object]] = set()
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    calls: list[Callable[[], Coroutine[Any, Any, object]]] = [
        *[lambda: client.ask("classify", BODIES["classify"])] * 6,
        *[lambda: client.ask("summarize", BODIES["summarize"])] * 3,
        *[lambda: client.ask("chat", BODIES["chat"])] * 2,
        *[lambda: client.ask("redact", {"document": "Write to ann@example.com.", "case": "7"})] * 3,
        lambda: client.submit("summarize", BODIES["summarize"], task=new_task("report"), headers=LABELS),
    ]
    await client.submit("classify", {"document": 7}, task=new_task("letter"))
    while (passed_s := loop.time() - started_s) < LASTS_S:
        if passed_s > SLOW_AFTER_S:
            slow.takes_s = 2.0
        call = asyncio.create_task(random.choice(calls)())
        running.add(call)
        call.add_done_callback(running.discard)
        await asyncio.sleep(random.expovariate(CALLS_PER_S))
    for call in list(running):
        call.cancel()


async def draw(picture: Path) -> None:
    """Run the fleet, look at it, and put it away."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        policy = folder / "policy.toml"
        policy.write_text(POLICY, encoding="utf-8")
        fleet = await stack.enter_async_context(
            running_fleet(
                folder / "fleet",
                orchestrators=2,
                local=0,
                pools=[
                    ("local", "ollama"),
                    ("local", "vllm"),
                    ("local", "redaction"),
                    ("cloud", "openai"),
                    ("cloud", "anthropic"),
                ],
                vault_pools=("redaction",),
                env={"FLOTILLA_POLICY_FILE": str(policy)},
            )
        )
        slow = await serve(stack, fleet)
        portal = await start_portal(fleet)
        browser = await stack.enter_async_context(running_browser())
        context = await browser.new_context(viewport={"width": WIDTH, "height": HEIGHT}, reduced_motion="reduce")
        page = BrowserPage(await context.new_page(), portal)
        await page.go("overview")
        calls = asyncio.create_task(traffic(await fleet.client(), slow))
        await asyncio.sleep(LASTS_S - 5)
        await page.page.screenshot(path=picture, full_page=True)
        calls.cancel()


if __name__ == "__main__":
    asyncio.run(draw(Path(sys.argv[1])))
