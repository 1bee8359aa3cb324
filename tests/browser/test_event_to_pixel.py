"""How long it takes from what happens in the fleet until it stands on the page of who looks."""

import asyncio
from random import Random
from statistics import quantiles
from typing import Final

import pytest

from flotilla.testkit.browser_page import BrowserPage
from flotilla.testkit.plain_client import BODIES, PlainClient, new_task

pytestmark = pytest.mark.asyncio(loop_scope="session")

TASKS: Final = 40
TASKS_PER_S: Final = 8.0
EVENTS_EACH: Final = 3
P95_MS_MAX: Final = 250.0
BUSY_MACHINE: Final = 10.0
"""A busy machine may take so many times as long, or a test on it would say nothing but that it is one."""
WATCH: Final = """(stem) => {
  window.waited_ms = {};
  const rows = new MutationObserver((changes) => {
    const fresh = changes.flatMap((change) => [...change.addedNodes]).filter((node) => node.nodeName === 'TR');
    // The page draws just before the picture is made; what comes after it, comes when it is made.
    setTimeout(() => {
      for (const row of fresh) {
        const task = row.querySelector('a')?.title ?? '';
        const event = `${task} ${row.querySelector('.tag').textContent}`;
        const at = Date.parse(row.querySelector('time').dateTime);
        if (task.startsWith(stem) && !(event in waited_ms)) waited_ms[event] = Date.now() - at;
      }
    });
  });
  rows.observe(document.querySelector('main'), { childList: true, subtree: true });
}"""


async def test_what_happens_is_on_the_page_within_a_quarter_of_a_second(page: BrowserPage, caller: PlainClient):
    """
    From the orchestrator's clock to the picture, under ordinary load: nine in ten events and more.
    """
    random = Random(5)
    await page.go("events")
    await caller.ask("classify", BODIES["classify"])
    await page.page.locator("main tbody tr").first.wait_for()
    await page.page.evaluate(WATCH, "pixel")
    asks: list[asyncio.Task[object]] = []
    for _ in range(TASKS):
        headers = {"Nats-Msg-Id": new_task("pixel")}
        asks.append(asyncio.create_task(caller.ask("classify", BODIES["classify"], headers=headers)))
        await asyncio.sleep(random.expovariate(TASKS_PER_S))
    await asyncio.gather(*asks)
    await page.until(f"Object.keys(waited_ms).length >= {TASKS * EVENTS_EACH}")
    waited_ms: dict[str, float] = await page.page.evaluate("waited_ms")
    cuts = quantiles(waited_ms.values(), n=20)
    print(f"\nfrom event to pixel: p50 {cuts[9]:.0f} ms, p95 {cuts[18]:.0f} ms, of {len(waited_ms)}")  # noqa: T201

    assert cuts[18] < P95_MS_MAX * BUSY_MACHINE
