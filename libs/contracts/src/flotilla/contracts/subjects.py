"""
Every subject of the fleet, in one place: the code, the permissions and the tests build them here.

`scope.<SCOPE>.` stands before a tenant's subjects inside the FLEET account; the tenant's own account imports them
without it. Functions that take names do not check them: `names.py` does, where they enter.
"""

from typing import Final, Literal, NamedTuple, get_args

from flotilla.contracts.names import is_name, is_replica, token_of

Zone = Literal["local", "cloud"]
Priority = Literal["high", "normal", "low"]
EventKind = Literal[
    "queued",
    "dispatched",
    "attempt_failed",
    "finished",
    "failed",
    "cancelled",
    "awaiting_approval",
    "approval_decided",
    "step_started",
    "step_finished",
    "step_failed",
    "shadow_compared",
]

ZONES: Final[tuple[Zone, ...]] = get_args(Zone)
PRIORITIES: Final[tuple[Priority, ...]] = get_args(Priority)
ORCHESTRATOR_GROUP: Final = "orchestrator"
API_VERBS: Final = (
    "result",
    "status",
    "cancel",
    "replicas",
    "stats",
    "explain",
    "policy",
    "blackboard",
    "dead",
    "approvals",
    "decide",
    "feedback",
    "experiment",
    "spend",
)
APPROVER_VERBS: Final = ("approvals", "decide")
"""Of these, what the scope's approver alone may ask."""
APPROVER_INBOX: Final = "_APPROVER"
"""Where an approver's answers arrive: not below `_INBOX`, all of which the ordinary user of a tenant's account may hear."""


class TaskSubject(NamedTuple):
    """The parts of `scope.<scope>.tasks.<capability>[.high|.low]`."""

    scope: str
    capability: str
    priority: Priority


# --- what a caller sees, as it stands in the FLEET account ---------------------------------------------------------


def tasks(scope: str, capability: str, priority: Priority = "normal") -> str:
    """Where durable tasks are published."""
    plain = f"scope.{scope}.tasks.{capability}"
    return plain if priority == "normal" else f"{plain}.{priority}"


def parse_tasks(subject: str) -> TaskSubject | None:
    """Take apart a subject of the task stream; None when it is not of the form, whatever its capability."""
    parts = subject.split(".")
    match parts:
        case ["scope", scope, "tasks", capability]:
            return TaskSubject(scope, capability, "normal")
        case ["scope", scope, "tasks", capability, "high" | "low" as priority]:
            return TaskSubject(scope, capability, priority)
        case _:
            return None


def ask(scope: str, capability: str) -> str:
    """Where interactive tasks are requested."""
    return f"scope.{scope}.ask.{capability}"


def results(scope: str, capability: str, task: str) -> str:
    """Where the committed result of a durable task is published, once."""
    return f"scope.{scope}.results.{capability}.{task}"


def commit(scope: str, capability: str, task: str) -> str:
    """
    Where an orchestrator publishes a result, for the stream to store it, and then republish it on `results`.

    Were it published on `results` itself, subscribers would also hear the ones that the stream refuses.
    """
    return f"commit.{scope}.{capability}.{task}"


def events(scope: str, capability: str, kind: EventKind) -> str:
    """
    Where the events of all tasks of a capability are published; which task, a header (`headers.EVENT_TASK`) and the body say.

    The task has no place in the subject: for every subject that a stream holds nats-server keeps some 400 bytes of memory.
    """
    return f"scope.{scope}.events.{capability}.{kind}"


def api(scope: str, verb: str) -> str:
    """Where a question to the fleet is requested."""
    return f"scope.{scope}.api.{verb}"


# --- inside the fleet ----------------------------------------------------------------------------------------------


def infer(zone: Zone, pool: str, capability: str) -> str:
    """Where an orchestrator sends an attempt; workers of the pool take it in turn."""
    return f"infer.{zone}.{pool}.{capability}"


def infer_free(zone: Zone, pool: str) -> str:
    """Where a replica that was full says that it has a free slot again."""
    return f"infer-free.{zone}.{pool}"


def heartbeat(zone: Zone, pool: str, replica: str) -> str:
    """
    Where a replica says every two seconds that it lives: its card, or an empty message when it leaves.

    Credentials bind the subject to the pool: it says whose card it is, and a card that says otherwise is dropped.
    """
    return f"heartbeat.{zone}.{pool}.{replica}"


def parse_heartbeat(subject: str) -> str | None:
    """The key of the replica that a heartbeat is from; None when the subject names none."""
    match subject.split("."):
        case ["heartbeat", "local" | "cloud" as zone, pool, replica] if is_name(pool) and is_replica(replica):
            return presence_key(zone, pool, replica)
        case _:
            return None


EVERY_REPLICA: Final = "_all"
"""In the place of a replica in `infer_control`: all of the pool's listen. No replica's name begins like this."""


def infer_control(zone: Zone, pool: str, replica: str) -> str:
    """Where one replica is told to cancel an attempt, or to drain; every replica, what it holds."""
    return f"infer-control.{zone}.{pool}.{replica}"


def attempt_inbox(zone: Zone, pool: str, orchestrator: str, *, sealed: bool = False) -> str:
    """
    The prefix of the inboxes on which one orchestrator receives the replies of one pool's attempts.

    The pool stands in the subject so that a worker's credentials can allow replies to its own attempts by a static
    permission. `allow_responses` would do it too, but the server keeps every reply subject until it expires: at a
    thousand tasks a second and the hour that a long task may take, millions of entries, scanned every second.

    Those of the sealed lane are others, which no pool tells the account of the ordinary orchestrators.
    """
    return f"_INBOX.{'sealed-attempts' if sealed else 'attempts'}.{zone}.{pool}.{orchestrator}"


def dead(scope: str, capability: str, task: str) -> str:
    """Where the record of a task that could not be processed is kept."""
    return f"dead.{scope}.{capability}.{task}"


def pipeline_run(scope: str, task: str, pipeline: str) -> str:
    """Where the definition that a run of a pipeline began with is kept."""
    return f"step.{scope}.{task}.definition.{pipeline}"


def pipeline_step(scope: str, run: str, step: str, index: str, digest: str) -> str:
    """
    Where the result of one task of a run is kept, once.

    Args:
        scope: Whose run it is.
        run: Its id.
        step: The step's name.
        index: Of the item from 0 where the step runs for each, otherwise `-`.
        digest: Of all that the result was made from.
    """
    return f"step.{scope}.{run}.{step}.{index}.{digest}"


def step_passed(scope: str, task: str, digest: str) -> str:
    """Where it is kept, once, that a run within a run has passed its gate; the digest is of all that was approved."""
    return f"step.{scope}.{task}.passed.{digest}"


def step_payload(scope: str, task: str, request: str) -> str:
    """Where the input is kept that an approver is shown, once per request for approval."""
    return f"step.{scope}.{task}.approval.{request}"


def suspended(scope: str, task: str) -> str:
    """Where a task that waits for an approval is kept, as a message that is due at a time (ADR-51)."""
    return f"suspended.{scope}.wait.{task}"


def resumed(scope: str, task: str) -> str:
    """Where the same task is delivered once it is due."""
    return f"suspended.{scope}.due.{task}"


def of_suspended(scope: str, task: str) -> str:
    """Both of a task's subjects: where it waits, and where it is due."""
    return f"suspended.{scope}.*.{task}"


def audit(scope: str, request: str, status: str) -> str:
    """Where it is written, once, that a request for approval has become this."""
    return f"audit.{scope}.{request}.{status}"


def pipeline_steps(scope: str, run: str) -> str:
    """Where all that is kept of a run is."""
    return f"step.{scope}.{run}.>"


def score(scope: str, capability: str, task: str, scorer: str) -> str:
    """Where what somebody said of a task's answer is kept, once."""
    return f"score.{scope}.{capability}.{task}.{scorer}"


def orchestrator_control(scope: str, verb: str) -> str:
    """Where orchestrators tell one another what all of them must know (a cancelled task)."""
    return f"orchestrator-control.{scope}.{verb}"


def rate_counter(limit: str, measure: str) -> str:
    """The counter of what a limit's orchestrators have taken (`requests`, `tokens`); it only grows."""
    return f"counter.rate.{limit}.{measure}"


def held_counter(limit: str) -> str:
    """The counter of attempts under way that a limit counts."""
    return f"counter.held.{limit}"


def budget_counter(budget: str, period: str) -> str:
    """The counter of what is spent and reserved of a budget in one day or month, in micro-dollars."""
    return f"counter.budget.{budget}.{period}"


def counted(counter: str) -> str:
    """Where a counter's messages are told once they are stored, with the total that each came to."""
    return f"counted.{counter.removeprefix('counter.')}"


def reserving_owner(owner: str) -> str:
    """Where an orchestrator that holds reservations says that it lives."""
    return f"counted.owner.{owner}"


def ledger(scope: str, day: str, pool: str, model: str) -> str:
    """The counter of what a scope's tasks cost in a day on a pool's model, in micro-dollars; its messages are the ledger."""
    return f"ledger.{scope}.{day}.{pool}.{token_of(model) or '='}"


def ledger_day(scope: str, day: str) -> str:
    """All that a scope's tasks cost in a day."""
    return f"ledger.{scope}.{day}.>"


# --- streams and buckets -------------------------------------------------------------------------------------------

PRESENCE_BUCKET: Final = "presence"
STATS_BUCKET: Final = "stats"
POLICY_BUCKET: Final = "policy"
EXPERIMENTS_BUCKET: Final = "experiments"
BUCKETS: Final = (PRESENCE_BUCKET, STATS_BUCKET, POLICY_BUCKET, EXPERIMENTS_BUCKET)
"""
Of the fleet, in the account of the orchestrators.

A scope's stores have its name in theirs and bounds of their own, so none can push out what is another's.
"""


VAULT_BUCKET: Final = "vault"
"""In an account of its own, which no orchestrator is in; see `accounts.py` of provisioning."""

SHARED_BEFORE: Final = ("EVENTS", "DEAD", "KV_blackboard")
"""Streams of the version before, in place of one per scope; see `takeover.py` of the fabric."""


def tasks_stream(scope: str) -> str:
    """The work-queue stream of a scope's tasks; one per scope, since JetStream de-duplicates over a whole stream."""
    return f"TASKS_{scope}"


def results_stream(scope: str) -> str:
    """The stream that keeps a scope's committed results."""
    return f"RESULTS_{scope}"


def events_stream(scope: str) -> str:
    """The stream that keeps a scope's events."""
    return f"EVENTS_{scope}"


def dead_stream(scope: str) -> str:
    """The stream that keeps the records of a scope's tasks that could not be processed."""
    return f"DEAD_{scope}"


def steps_stream(scope: str) -> str:
    """The stream that keeps the results of the steps of a scope's pipelines."""
    return f"STEPS_{scope}"


def suspended_stream(scope: str) -> str:
    """The stream of a scope's tasks that wait for an approval, and of those that are due again."""
    return f"SUSPENDED_{scope}"


def audit_stream(scope: str) -> str:
    """The stream that keeps what became of a scope's requests for approval."""
    return f"AUDIT_{scope}"


def approvals_bucket(scope: str) -> str:
    """The bucket of a scope's requests for approval."""
    return f"approvals_{scope}"


def scores_stream(scope: str) -> str:
    """The stream that keeps what a scope's callers said of answers."""
    return f"SCORES_{scope}"


def arms_key(capability: str, experiment: str, writer: str) -> str:
    """The key of one orchestrator's totals in the bucket of experiments; `*` stands for any."""
    return f"arms.{capability}.{experiment}.{writer}"


COUNTERS_STREAM: Final = "COUNTERS"
"""Of the fleet: what limits and budgets count, over all scopes."""


def ledger_stream(scope: str) -> str:
    """The stream that keeps what a scope's tasks cost."""
    return f"LEDGER_{scope}"


def blackboard_bucket(scope: str) -> str:
    """The bucket of a scope's blackboard."""
    return f"blackboard_{scope}"


def cache_bucket(scope: str) -> str:
    """The bucket of a scope's kept answers."""
    return f"cache_{scope}"


def consumer(capability: str, priority: Priority) -> str:
    """The durable consumer of one capability and priority in a scope's task stream."""
    return f"{capability}_{priority}"


def bucket_stream(bucket: str) -> str:
    """The stream behind a KV bucket."""
    return f"KV_{bucket}"


def key(bucket: str, name: str) -> str:
    """The subject on which a KV key is written."""
    return f"$KV.{bucket}.{name}"


def presence_key(zone: Zone, pool: str, replica: str) -> str:
    """The key of a replica's card in the presence bucket, which is also how orchestrators know it."""
    return f"{zone}.{pool}.{replica}"


def vault_key(scope: str, handle: str) -> str:
    """The key of a vault in the vault bucket."""
    return f"{scope}.{handle}"


def inbox_prefix(*parts: str) -> str:
    """The private inbox prefix of a member, such as `_INBOX.local.ollama`."""
    return ".".join(("_INBOX", *parts))
