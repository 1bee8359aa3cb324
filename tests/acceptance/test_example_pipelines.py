"""The pipelines of the examples, each as its page says: run with a worker that redacts, and one that says what is asked."""

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio

from flotilla.client.errors import TaskFailedError
from flotilla.client.fleet import Fleet
from flotilla.inference.redaction.vault_keys import new_key
from flotilla.testkit.fleet import RunningFleet, running_fleet
from flotilla.testkit.plain_client import Json, PlainClient, eventually, new_task
from flotilla.testkit.scripted_worker import ScriptedWorker, finished, scripted_worker

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples" / "pipelines"
CAPABILITIES: Final = (
    "classify",
    "extract-entities",
    "summarize",
    "synthesize",
    "reason",
    "translate",
    "send-mail",
)
POLICY: Final = 'format = 1\n[declassify]\nclassify = { label = "internal" }\n'
NAME: Final = "Dr. Hannelore Wiesenthau"
MAIL: Final = f"Please refund my invoice.\n\nYours, {NAME}, h.wiesenthau@postfach-beispiel.example"


def _says(request: Json) -> list[Any]:
    given = request["input"]
    outputs: dict[str, Any] = {
        "classify": lambda: {"label": _label(given), "confidence": 1.0},
        "extract-entities": lambda: {"entities": list[Any]()},
        "summarize": lambda: {"summary": f"In short: {given['document']}"},
        "synthesize": lambda: {"report": f"{given['instruction']} {given['sources'][0]}"},
        "reason": lambda: {"answer": f"Dear customer, {given['context']}"},
        "translate": lambda: {"text": f"in English: {given['text']}", "source": "de"},
        "send-mail": lambda: {"id": "mail-1"},
    }
    output = outputs[request["capability"]]()
    told = [{"type": "piece", "seq": 0, "text": next(iter(output.values()))}] if request.get("stream") else []
    return [{"type": "accepted"}, *told, finished(output)]


def _label(given: Json) -> str:
    if "contract" in given["labels"] and "contract" in given["document"]:
        return "contract"
    wanted = "praise" if "Thank you" in given["document"] else "complaint"
    return wanted if wanted in given["labels"] and "clinical" not in given["labels"] else "clinical"


class Stage:
    """The fleet, and who speaks to it."""

    def __init__(
        self,
        fleet: RunningFleet,
        *,
        home: ScriptedWorker,
        cloud: ScriptedWorker,
        tenant: PlainClient,
        approver: Fleet,
    ) -> None:
        self.fleet = fleet
        self.home = home
        self.cloud = cloud
        self.tenant = tenant
        self.approver = approver


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """
    A worker in each zone that can do everything, and one at home that redacts.
    """
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(
            running_fleet(
                tmp_path_factory.mktemp("examples"),
                local=0,
                pools=(("local", "home"), ("local", "redaction"), ("cloud", "cloud")),
                vault_pools=("redaction",),
                env={"FLOTILLA_CAPABILITY_FILES": str(EXAMPLES)},
            )
        )
        await fleet.start_worker("local", "redaction", engine="redaction", env={"FLOTILLA_VAULT_KEY": new_key()})
        members = [
            await fleet.connect(fleet.server.worker("local", "home")),
            await fleet.connect(fleet.server.worker("cloud", "cloud")),
        ]
        home = await stack.enter_async_context(
            scripted_worker(members[0], _says, pool="home", replica="home-w1", capabilities=CAPABILITIES)
        )
        cloud = await stack.enter_async_context(
            scripted_worker(
                members[1], _says, zone="cloud", pool="cloud", replica="cloud-w1", capabilities=CAPABILITIES
            )
        )
        await fleet.until_replicas({"home-w1", "cloud-w1"})
        approver = await stack.enter_async_context(
            Fleet.connect(fleet.url, creds=fleet.server.approver().creds, name="approver")
        )
        async with Fleet.connect(fleet.url) as client:
            revision = (await client.policy.set(POLICY, force=True)).revision
            await eventually(lambda: _in_force(client, revision))
        yield Stage(fleet, home=home, cloud=cloud, tenant=await fleet.client(), approver=approver)


async def test_a_document_is_reported_on_when_the_report_is_granted(stage: Stage):
    """
    By the plain client: redacted before anything but home has it, held at its gate, restored at home.
    """
    task = new_task()
    headers = {"Flotilla-Data-Class": "restricted"}
    async with stage.tenant.hearing("results.process-document.>") as results:
        await stage.tenant.submit("process-document", {"document": MAIL}, task=task, headers=headers)
        shown = await _grant(stage, task)
        result = await results.result(task)
    steps = {step["name"]: step for step in result["steps"]}

    assert "ok" == result["status"], result
    assert NAME not in json.dumps(shown)
    assert "clinical" == result["output"]["category"]
    assert NAME in result["output"]["report"]
    assert {"internal"} == {steps[name]["data_class"] for name in ("summary", "report")}
    assert ["local"] * 4 == [steps[name]["zone"] for name in ("classify", "entities", "redact", "final")]
    assert not [request for request in stage.cloud.requests if NAME in json.dumps(request["input"])]


async def test_a_report_that_nobody_has_to_grant_streams_as_it_is_restored(stage: Stage):
    """
    Its pieces are those of the step that restores: the names are in them, and no placeholder.
    """
    document = f"A contract of {NAME}, h.wiesenthau@postfach-beispiel.example. " * 300
    async with (
        Fleet.connect(stage.fleet.url) as fleet,
        fleet.stream("process-document", {"document": document}, data_class="restricted") as stream,
    ):
        pieces = [piece async for piece in stream]

    assert len(pieces) > 1
    assert stream.answer.output["report"] == "".join(pieces)
    assert NAME in pieces[0]
    assert "[PERSON" not in "".join(pieces)


async def test_a_mail_is_answered_when_somebody_has_read_the_answer(stage: Stage):
    """
    By the Python client. What is sent is what was shown; praise needs no answer, and its last three steps are left out.
    """
    async with Fleet.connect(stage.fleet.url) as fleet:
        complaint = await fleet.submit("support-inbox", {"from": "ann@example.com", "mail": MAIL})
        shown = await _grant(stage, complaint.task)
        answered = await fleet.result(complaint.task)
        praise = await fleet.submit("support-inbox", {"from": "bob@example.com", "mail": "Thank you."})
        praised = await fleet.result(praise.task)
        [sent] = [request["input"] for request in stage.home.requests if request["capability"] == "send-mail"]

    assert shown == sent
    assert "ann@example.com" == sent["to"]
    assert {"label": "complaint", "reply": sent["text"], "sent": "mail-1"} == answered.output
    assert {"label": "praise", "reply": None, "sent": None} == praised.output
    steps = praised.result.steps
    assert isinstance(steps, list)
    assert ["triage"] == [step.name for step in steps if step.status == "succeeded"]


async def test_a_mail_whose_answer_is_denied_is_not_sent(stage: Stage):
    """
    And whoever submitted it reads why; so does the caller of an ask, which waits for nobody.
    """
    body = {"from": "cyd@example.com", "mail": MAIL}
    async with Fleet.connect(stage.fleet.url) as fleet:
        submitted = await fleet.submit("support-inbox", body)
        await _wait_for(stage, submitted.task)
        [request] = [each for each in await stage.approver.approvals.list() if each.task == submitted.task]
        await stage.approver.approvals.deny(request, comment="too curt", by="ann")
        with pytest.raises(TaskFailedError, match="too curt") as denied:
            await fleet.result(submitted.task)
        with pytest.raises(TaskFailedError, match="submit it as a durable task") as asked:
            await fleet.ask("support-inbox", body)

    assert ("approval_denied", "send") == (denied.value.kind.value, denied.value.details["step"])
    assert ("step_failed", "approval_required") == (asked.value.kind.value, asked.value.details["kind"])
    assert not [each for each in stage.home.requests if each["input"].get("to") == "cyd@example.com"]


async def test_pages_are_translated_one_by_one_and_a_name_is_the_same_on_each(stage: Stage):
    """
    Asked by the Python client: no page leaves with a name in it, and the pages come back in their order.
    """
    pages = [f"Seite {number}: {NAME} kündigt." for number in range(1, 13)]
    async with Fleet.connect(stage.fleet.url) as fleet:
        answer = await fleet.ask("translate-pages", {"pages": pages}, data_class="restricted")
    steps = answer.result.steps
    assert isinstance(steps, list)
    translated = [
        request["input"]["text"]
        for worker in (stage.home, stage.cloud)
        for request in worker.requests
        if request["capability"] == "translate"
    ]

    assert [f"in English: {page}" for page in pages] == answer.output["pages"]
    assert {"redact": 1, "sides": 12, "final": 1} == {step.name: step.tasks for step in steps}
    assert 12 == len(translated)
    assert not [text for text in translated if "Wiesenthau" in text]
    assert 1 == len({text.partition(": ")[2] for text in translated})


async def _grant(stage: Stage, task: str) -> Any:
    """As an approver does: look at the input that would leave, and let it."""
    await _wait_for(stage, task)
    [request] = [each for each in await stage.approver.approvals.list() if each.task == task]
    shown = await stage.approver.approvals.show(request.id)
    await stage.approver.approvals.grant(shown.approval, comment="read it", by="ann")
    return json.loads(bytes(shown.payload))


async def _wait_for(stage: Stage, task: str) -> None:
    async def waits() -> bool:
        return any(each.task == task for each in await stage.approver.approvals.list())

    await eventually(waits)


async def _in_force(client: Fleet, revision: int) -> bool:
    return (await client.explain("summarize")).policy_revision >= revision
