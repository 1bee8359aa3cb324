"""The fleet, as a caller sees it."""

from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self, Unpack

from flotilla.client import batches, interactive, submission
from flotilla.client.addresses import DEFAULT_URL, Addresses, inbox_prefix_of
from flotilla.client.answers import Answer
from flotilla.client.api_calls import ApiCalls
from flotilla.client.approvals import Approvals
from flotilla.client.batches import IN_FLIGHT_MAX, Done, Inputs, OnSubmitted
from flotilla.client.blackboard import Blackboard
from flotilla.client.events import EventFeed
from flotilla.client.fleet_api import FleetApi
from flotilla.client.link import Link, linked
from flotilla.client.options import AskOptions, Input, SubmitOptions
from flotilla.client.policy import PolicyBook
from flotilla.client.streams import AnswerStream, OnStep
from flotilla.client.submission import Submitted
from flotilla.contracts.headers import TASK_DEADLINE_MS_DEFAULT
from flotilla.contracts.subjects import EventKind
from flotilla.fabric.connection import NatsSettings

CONNECT_PATIENCE_S: Final = 10.0
RESULT_TIMEOUT_S: Final = TASK_DEADLINE_MS_DEFAULT / 1000


class Fleet(FleetApi):
    """
    A connection to the fleet. Make one and share it: any number of calls may be under way at once.

        async with Fleet.connect() as fleet:
            answer = await fleet.ask("classify", {"document": text, "labels": ["billing", "legal"]})
            print(answer.output["label"])

    Everything it raises on purpose is a `FlotillaError`: `TaskError` (with `kind`) when a task was refused or failed,
    `NoFleetError` when nobody is there to ask. Nothing waits for ever: every call has a deadline or a timeout.

    Attributes:
        policy: The fleet's routing policy.
        blackboard: Values that every caller of the scope can read, change and watch.
        approvals: Requests that wait for a person; for the scope's approver alone.
    """

    def __init__(self, link: Link) -> None:
        api_calls = ApiCalls(link)
        super().__init__(api_calls)
        self._link = link
        self.policy: Final = PolicyBook(api_calls)
        self.blackboard: Final = Blackboard(api_calls)
        self.approvals: Final = Approvals(api_calls)

    @classmethod
    @asynccontextmanager
    async def connect(
        cls,
        url: str = DEFAULT_URL,
        *,
        creds: str | Path | None = None,
        user: str | None = None,
        password: str | None = None,
        tls_ca: str | Path | None = None,
        scope: str | None = None,
        inbox_prefix: str | None = None,
        name: str = "flotilla-client",
        connect_patience_s: float = CONNECT_PATIENCE_S,
    ) -> AsyncGenerator[Self]:
        """
        Connect; the connection is kept through restarts of the server, and closed when the block ends.

        Args:
            url: One URL or several with commas between; `tls://` for TLS.
            creds: An nkey seed file, or a `.creds` file. None for a server that asks for none, which is what
                `flotilla up` starts on loopback.
            user: With `password`, for a server that knows callers by these.
            password: See `user`.
            tls_ca: A CA bundle, when the system's does not know the server's certificate.
            scope: For users of the FLEET account (the admin): the tenant whose tasks and results are meant. Tenants
                leave it out, since their account stands for their scope.
            inbox_prefix: What this user may subscribe to for replies. Unless given: `_INBOX`, or with a scope
                `_INBOX.<name of the creds file without its suffix>`, which is what the fleet's own roles may.
            name: How the connection is called in the server's monitoring.
            connect_patience_s: How long to try.

        Raises:
            NoFleetError: No server can be reached.
            CredentialsRefusedError: One can, and refused the credentials.
            CredentialsUnusableError: The file of credentials cannot be read, or is none.
        """
        creds_path = None if creds is None else Path(creds)
        settings = NatsSettings(
            url=url,
            creds=creds_path,
            user=user,
            password=password,
            tls_ca=None if tls_ca is None else Path(tls_ca),
            inbox_prefix=inbox_prefix or inbox_prefix_of(scope, creds_path),
            connect_patience_s=connect_patience_s,
        )
        async with linked(settings, Addresses(scope), name=name) as link:
            yield cls(link)

    @property
    def is_connected(self) -> bool:
        """Whether the server can be reached now."""
        return self._link.connection.is_connected

    @property
    def url(self) -> str:
        """Where it is connected, without a password."""
        return self._link.url

    async def ask(
        self,
        capability: str,
        input: Input,  # noqa: A002  (the wire's word)
        *,
        task_id: str | None = None,
        **options: Unpack[AskOptions],
    ) -> Answer:
        """
        Have a task done now, and wait for its answer. Lowest latency; nothing is stored.

        Without `task_id` it is asked again when no orchestrator has taken it within a second, and so may be done twice.

            answer = await fleet.ask("translate", {"text": "Guten Tag", "target": "en"}, deadline_s=20)
            answer.text        # 'Good day'

        Args:
            capability: What needs doing: `classify`, `summarize`, ...
            input: The capability's input: a mapping, a Struct, or bytes that are JSON already; at most the server's
                message size (8 MiB unless configured) less 4 KiB.
            task_id: 1 to 64 of `A-Za-z0-9_-`, not beginning with `seq-`. With one, cancelling the call (a timeout of
                your own) also stops the work.
            options: See `AskOptions`: `deadline_s` (60 s), `data_class`, `route`, `sticky`, `cache`, `labels`, ...

        Raises:
            TaskError: Refused (`bad_request`, `no_route`, `too_large`, ...), or failed (`TaskFailedError`, whose
                `answer` tells of every attempt), or `deadline_exceeded`.
            NoFleetError: Nobody answers; known within a moment, not after the deadline.
        """
        return await interactive.ask(self._link, capability, input, task_id=task_id, options=options)

    def stream(
        self,
        capability: str,
        input: Input,  # noqa: A002  (the wire's word)
        *,
        task_id: str | None = None,
        on_step: OnStep | None = None,
        **options: Unpack[AskOptions],
    ) -> AnswerStream:
        """
        Have a task done now, and read its answer as it comes.

            async with fleet.stream("reason", {"question": "Why is the sky blue?"}) as stream:
                async for piece in stream:
                    print(piece, end="", flush=True)
            print(stream.answer.usage.output_tokens)

        A capability whose output is structured comes as one piece of JSON. Arguments as for `ask`. Of a pipeline
        `on_step` is told of each step as it begins and ends; the pieces are its last step's, where these make up a text
        of the output, else the output comes whole with the answer.

        Raises:
            TaskError: `bad_request` or `too_large`, before anything is sent. See `AnswerStream` for the rest.
        """
        return interactive.stream(self._link, capability, input, task_id=task_id, on_step=on_step, options=options)

    async def submit(
        self,
        capability: str,
        input: Input,  # noqa: A002  (the wire's word)
        *,
        task_id: str | None = None,
        **options: Unpack[SubmitOptions],
    ) -> Submitted:
        """
        Hand in a durable task: when this returns it survives the crash of any process, and will be done.

            submitted = await fleet.submit("classify", document, task_id="mail-4711", priority="low")
            answer = await fleet.result(submitted.task)

        Args:
            capability: What needs doing.
            input: As for `ask`.
            task_id: As for `ask`. With one, submitting twice makes one task: use it wherever you may have to repeat
                yourself. Without, the id is `seq-` and the sequence in the stream.
            options: See `SubmitOptions`: `priority`, and those of `ask`; the deadline is an hour unless given.

        Raises:
            TaskError: `too_large` before anything is sent; `backlog_full`: try again later.
            TaskIdTakenError: The id was given to another input before.
            NotAcceptedError: The stream refused it for a reason of its own.
            UnconfirmedError: Nobody knows whether it was accepted.
            NoFleetError: There is no task stream, or no server.
        """
        return await submission.submit(self._link, capability, input, task_id=task_id, options=options)

    async def result(
        self,
        task: str,
        *,
        capability: str | None = None,
        input: Input | None = None,  # noqa: A002  (the wire's word)
        timeout_s: float = RESULT_TIMEOUT_S,
    ) -> Answer:
        """
        The result of a durable task: at once when it is done, else as soon as it is.

        Raises:
            TaskFailedError: The task failed; its `answer` is the result.
            TaskIdTakenError: It is the answer to another input than `input`, which had the same id before.
            ResultTimeoutError: There was none within `timeout_s`. Also for an id that no task has.
            NoFleetError: Nobody answers.
        """
        return await batches.result(self._link, task, capability=capability, input=input, timeout_s=timeout_s)

    async def committed(self, task: str) -> Answer:
        """
        The result of a durable task if it has one now; `answer.ok` says whether it went well.

        Raises:
            TaskError: `not_found`: it has none yet, or there is no such task.
            NoFleetError: Nobody answers.
        """
        return await self._api_calls.result(task)

    async def earlier_answer(self, task: str, input: Input) -> Answer | None:  # noqa: A002  (the wire's word)
        """
        The result that a task of this id and input has already; None when there is none.

        The stream knows a repeated id for ten minutes; results are kept longer. Ask here before a task that may have been
        done hours ago is submitted again.

        Raises:
            TaskIdTakenError: The id was given to another input.
            NoFleetError: Nobody answers.
        """
        return await submission.earlier_answer(self._link, task, input)

    def submit_many(
        self,
        capability: str,
        inputs: Inputs,
        *,
        batch: str | None = None,
        in_flight_max: int = IN_FLIGHT_MAX,
        **options: Unpack[SubmitOptions],
    ) -> AsyncIterator[Submitted]:
        """
        Hand in many durable tasks; gives their acknowledgements in the order of the inputs.

        Args:
            capability: What needs doing.
            inputs: Any iterable or async iterable; taken as acknowledgements come, never read ahead of them by more
                than `in_flight_max`.
            batch: At most 48 characters. Task ids are `<batch>-<index>`, so repeating a batch that broke off makes no
                task twice; a random one unless given. Inputs that do not keep their places are given ids by `WithId`.
            in_flight_max: How many may be unacknowledged at a time.
            options: As for `submit`.

        Raises:
            FlotillaError: What `submit` raises, for the first input that is not accepted; those before it are.
        """
        return batches.submit_many(
            self._link, capability, inputs, batch=batch, in_flight_max=in_flight_max, options=options
        )

    def results(
        self, capability: str, tasks: Iterable[str], *, timeout_s: float = RESULT_TIMEOUT_S
    ) -> AsyncIterator[Answer]:
        """
        The results of many tasks of one capability, failed ones included, in the order in which they come.

        One subscription serves all of them; at most 100,000 at a time.

        Raises:
            ResultTimeoutError: Some had none after `timeout_s` in all.
            NoFleetError: Nobody answers.
        """
        return batches.results(self._link, capability, tasks, timeout_s=timeout_s)

    def run_many(
        self,
        capability: str,
        inputs: Inputs,
        *,
        batch: str | None = None,
        resume: bool = False,
        in_flight_max: int = IN_FLIGHT_MAX,
        on_submitted: OnSubmitted | None = None,
        **options: Unpack[SubmitOptions],
    ) -> AsyncIterator[Done]:
        """
        Have many durable tasks done: submits and collects at once, in memory that does not grow with their number.

            async for done in fleet.run_many("classify", ({"document": d, "labels": LABELS} for d in documents)):
                print(done.index, done.answer.output["label"] if done.answer.ok else done.answer.error)

        Gives one `Done` per input, in the order in which they end; a failed one (`conflict`) where an id was given to
        another input before. A full backlog is waited out. Use `contextlib.aclosing` when you may leave the loop early.

        Args:
            capability: As for `submit_many`, like what is not named here.
            inputs: One JSON-serialisable input per task; taken as there is room, so it may be endless.
            batch: A name from which the tasks' ids are made, so that a second run submits none twice.
            resume: Take results that are there already from an earlier run, however long ago; see `earlier_answer`.
            in_flight_max: How many may be without a result at a time.
            on_submitted: Called with an input's place in the batch when its task is safe.
            options: As for `submit`.

        Raises:
            FlotillaError: The fleet went away, or the stream refused a task for a reason of its own.
        """
        return batches.run_many(
            self._link,
            capability,
            inputs,
            batch=batch,
            resume=resume,
            in_flight_max=in_flight_max,
            on_submitted=on_submitted,
            options=options,
        )

    def events(
        self,
        *,
        capability: str | None = None,
        task: str | None = None,
        kinds: Collection[EventKind] | None = None,
    ) -> EventFeed:
        """Watch tasks as they go, from now on; see `EventFeed`."""
        return EventFeed(self._link, capability=capability, task=task, kinds=kinds)
