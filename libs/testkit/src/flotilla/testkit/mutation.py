"""
Which decisions no test guards: `python -m flotilla.testkit.mutation FILE`, or `make mutation`.

FILE (TOML) names the modules that are changed, the tests that are to notice, and the survivors that are explained. The
tests are collected once. Each change (`mutants.py`) is then made in a fork of this process, which runs those tests that come
through the changed function, the quickest first, until one fails. A change that makes a test spin is noticed, by CPU time and
not by the clock, so the score is the same on a busy machine.
"""

import gc
import json
import os
import resource
import signal
import sys
import time
import tomllib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import CodeType, FrameType, FunctionType
from typing import Any, Final, Literal, NamedTuple

import pytest

from flotilla.testkit.mutants import Mutant, mutants

CPU_S_MIN: Final = 10
"""Of one change, whose tests may take five times what they take without it."""
HANGS_AFTER_S: Final = 120
"""By the clock, of tests that look again and again for what does not come."""
WAITS_AFTER_S: Final = 10
"""Without any CPU time, of tests that wait for what does not come; a busy machine gives a process some in so long."""

_Outcome = Literal["noticed", "hung", "survived"]


class Plan(NamedTuple):
    """
    What is changed, and by which tests it is to be noticed.

    Attributes:
        modules: Paths of sources.
        tests: Paths of tests.
        explained: The text of a survivor, as it is printed, without its line; and why nobody can see it.
    """

    modules: tuple[Path, ...]
    tests: tuple[str, ...]
    explained: dict[str, str]


class Change(NamedTuple):
    """
    A mutant of a module, with the functions that run its code and the numbers of the tests that come through them.
    """

    module: str
    mutant: Mutant
    functions: tuple[FunctionType, ...]
    tests: tuple[int, ...]
    cpu_s: float

    @property
    def text(self) -> str:
        """What it is, without its line."""
        return f"{self.module}: {self.mutant.function}: {self.mutant.source}: {self.mutant.text}"


class _Running:
    """A change that is being tested, by the process that does it."""

    def __init__(self, change: Change, pid: int) -> None:
        self.change = change
        self._stat = Path(f"/proc/{pid}/stat")
        self._since = self._computed_at = time.monotonic()
        self._ticks: list[str] = []

    def hangs(self) -> bool:
        """Whether it has taken too long, or computes nothing any more."""
        now = time.monotonic()
        # After the name, which may have spaces and brackets: the fields of user and system time.
        ticks = self._stat.read_text().rpartition(")")[2].split()[11:13] if self._stat.exists() else [str(now)]
        if ticks != self._ticks:
            self._ticks, self._computed_at = ticks, now
        return now - self._since > HANGS_AFTER_S or now - self._computed_at > WAITS_AFTER_S


class Mutation:
    """A plugin of pytest that runs the changes in place of the tests."""

    def __init__(self, plan: Plan, processes: int) -> None:
        self.plan = plan
        self.processes = processes
        self.outcomes: list[tuple[Change, _Outcome]] = []

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run everything there is to run."""
        from hypothesis import HealthCheck, Phase, settings  # noqa: PLC0415  (after pytest, which changes its asserts)

        # No shrinking: that a test fails is enough. The same examples each time: the score can be compared.
        settings.register_profile(
            "mutation",
            deadline=None,
            derandomize=True,
            database=None,
            max_examples=60,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        settings.load_profile("mutation")
        functions = _functions_of(self.plan.modules)
        reached = _in_fork(lambda: _reached(session, set(functions)))
        changes = list(self._changes(functions, reached))
        _say(f"{len(changes)} changes of {len(self.plan.modules)} modules, {len(session.items)} tests")
        # What is there now stays as it is: no fork looks for garbage in it, and copies it.
        gc.collect()
        gc.freeze()
        running: dict[int, _Running] = {}
        for change in changes:
            while len(running) >= self.processes:
                self._one_ended(running)
            pid = _started(session, change)
            running[pid] = _Running(change, pid)
        while running:
            self._one_ended(running)
        return True

    def _changes(
        self, functions: dict[CodeType, tuple[FunctionType, ...]], reached: list[tuple[float, list[str]]]
    ) -> Iterator[Change]:
        by_key = {_key(code): found for code, found in functions.items()}
        passing: dict[str, list[tuple[float, int]]] = defaultdict(list)
        for number, (cpu_s, keys) in enumerate(reached):
            for key in keys:
                passing[key].append((cpu_s, number))
        for module in self.plan.modules:
            for mutant in mutants(module.read_text(), str(module.resolve())):
                key = _key(mutant.code)
                tests = sorted(passing[key])
                yield Change(
                    module.name,
                    mutant,
                    by_key[key],
                    tuple(number for _, number in tests),
                    sum(cpu_s for cpu_s, _ in tests),
                )

    def _one_ended(self, running: dict[int, _Running]) -> None:
        while True:
            for pid, one in list(running.items()):
                change = one.change
                ended, status = os.waitpid(pid, os.WNOHANG)
                if not ended:
                    if one.hangs():
                        os.kill(pid, signal.SIGKILL)
                    continue
                del running[pid]
                code = os.waitstatus_to_exitcode(status)
                outcome = "hung" if code < 0 else "noticed" if code else "survived"
                self.outcomes.append((change, outcome))
                if outcome == "survived" and change.text not in self.plan.explained:
                    _say(f"survived: {change.text}  (line {change.mutant.line}, {len(change.tests)} tests)")
                return
            time.sleep(0.005)

    def report(self) -> bool:
        """Print the score of each module; whether every survivor is explained, and every explanation is of a survivor."""
        counts: dict[str, Counter[str]] = defaultdict(Counter)
        for change, outcome in self.outcomes:
            is_explained = outcome == "survived" and change.text in self.plan.explained
            counts[change.module]["explained" if is_explained else outcome] += 1
        for module, count in counts.items():
            _say(_score(module, count))
        total = sum(counts.values(), Counter[str]())
        _say(_score("all", total))
        survivors = {change.text for change, outcome in self.outcomes if outcome == "survived"}
        of_these = tuple(f"{module.name}: " for module in self.plan.modules)
        gone = [text for text in self.plan.explained if text.startswith(of_these) and text not in survivors]
        for text in gone:
            _say(f"explained, and no survivor: {text}")
        return not gone and not total["survived"]


def _score(name: str, count: Counter[str]) -> str:
    noticed, explained, left = count["noticed"] + count["hung"], count["explained"], count["survived"]
    share = noticed / max(1, count.total() - explained)
    return f"{name:24} {share:7.1%}  {noticed} noticed ({count['hung']} spun), {explained} explained, {left} survived"


def _key(code: CodeType) -> str:
    return f"{code.co_filename}:{code.co_qualname}:{code.co_firstlineno}"


def _functions_of(modules: Sequence[Path]) -> dict[CodeType, tuple[FunctionType, ...]]:
    """The functions of modules as they are in this process, by their code: whoever has imported one has the same object."""
    paths = {str(module.resolve()) for module in modules}
    found: dict[CodeType, list[FunctionType]] = defaultdict(list)
    gc.unfreeze()
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and each.__code__.co_filename in paths:
            found[each.__code__].append(each)
    return {code: tuple(functions) for code, functions in found.items()}


def _reached(session: pytest.Session, codes: set[CodeType]) -> list[tuple[float, list[str]]]:
    """Run each test once: its CPU seconds, and which of the functions it comes through."""
    reached: list[tuple[float, list[str]]] = []
    for item in session.items:
        seen: set[CodeType] = set()

        def see(frame: FrameType, event: str, _: object, seen: set[CodeType] = seen) -> None:
            if event == "call" and frame.f_code in codes:
                seen.add(frame.f_code)

        since_s = time.process_time()
        sys.setprofile(see)
        item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
        sys.setprofile(None)
        if session.testsfailed:
            raise AssertionError(f"fails without any change: {item.nodeid}")
        reached.append((time.process_time() - since_s, [_key(code) for code in seen]))
    return reached


def _in_fork(work: Callable[[], Any]) -> Any:
    """What `work` returns, done in a process of its own, as JSON: nothing of it stays here."""
    read, write = os.pipe()
    if not (pid := os.fork()):
        status = 1
        try:
            _quietly()
            answer = json.dumps(work()).encode()
            with os.fdopen(write, "wb") as pipe:
                pipe.write(answer)
            status = 0
        except AssertionError as error:
            with os.fdopen(write, "wb") as pipe:
                pipe.write(json.dumps(str(error)).encode())
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        answer = json.loads(pipe.read() or "null")
    if os.waitpid(pid, 0)[1]:
        raise SystemExit(f"mutation: {answer}")
    return answer


def _started(session: pytest.Session, change: Change) -> int:
    """The process in which a change is made and tested; it exits with 0 when no test noticed."""
    if pid := os.fork():
        return pid
    status = 1
    try:
        _quietly()
        limit_s = CPU_S_MIN + int(5 * change.cpu_s)
        resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s))
        for function in change.functions:
            function.__code__ = change.mutant.code
        for number in change.tests:
            item = session.items[number]
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=None)
            if session.testsfailed:
                break
        status = 1 if session.testsfailed else 0
    finally:
        os._exit(status)


def _quietly() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _say(line: str) -> None:
    print(line, file=sys.__stdout__, flush=True)


def plan_of(path: Path, only: Sequence[str]) -> Plan:
    """What a file says, of the modules whose paths end with one of `only`; of all of them without."""
    told = tomllib.loads(path.read_text())
    modules = [Path(name) for name in told["modules"]]
    wanted = [module for module in modules if not only or str(module).endswith(tuple(only))]
    return Plan(tuple(wanted), tuple(told["tests"]), told["explained"])


def main(arguments: Sequence[str]) -> int:
    """FILE, and the modules that alone are changed; 0 when nothing survived without an explanation."""
    processes = int(os.environ.get("WORKERS", "2"))
    mutation = Mutation(plan_of(Path(arguments[0]), arguments[1:]), processes)
    options = ["-q", "-n", "0", "--no-header", "-p", "no:cacheprovider", "--capture=no", "--show-capture=no"]
    status = pytest.main([*options, *mutation.plan.tests], plugins=[mutation])
    return int(status) or int(not mutation.report())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
