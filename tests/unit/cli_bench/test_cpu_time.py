"""CPU time per task."""

import os
import time

from flotilla.cli.bench.cpu_time import CpuTime, cpu_figures, cpu_ratio


def burn(seconds: float) -> None:
    began = time.process_time()
    while time.process_time() - began < seconds:
        pass


def test_cpu_time_is_counted_while_the_blocks_run_and_divided_by_the_tasks() -> None:
    """
    Two blocks of 0.1 s of work for four tasks; what is burnt between them is not counted.
    """
    cpu = CpuTime({"client": [os.getpid()], "cloud": []})
    for _ in range(2):
        with cpu.running():
            burn(0.1)
        burn(0.1)
        cpu.tasks += 2

    [figure] = cpu_figures("m", cpu)

    # The kernel counts in ticks of 10 ms.
    assert 40_000 <= figure.value <= 65_000
    assert figure.name == "CPU per task, client"


def test_the_ratio_is_of_what_one_task_costs() -> None:
    """
    The same work for one raw message and for four tasks: a task is four times cheaper.
    """
    raw, fleet = CpuTime({"client": [os.getpid()]}), CpuTime({"client": [os.getpid()]})
    for cpu, tasks in ((raw, 1), (fleet, 4)):
        with cpu.running():
            burn(0.1)
        cpu.tasks = tasks

    assert 3.0 <= cpu_ratio("m", raw=raw, fleet=fleet).value <= 5.0


def test_no_task_is_no_division_by_zero() -> None:
    """
    A measurement that did nothing has nothing to tell.
    """
    idle = CpuTime({"client": [os.getpid()]})

    assert cpu_figures("m", idle) == []
    assert cpu_ratio("m", raw=idle, fleet=idle).value == 0.0
