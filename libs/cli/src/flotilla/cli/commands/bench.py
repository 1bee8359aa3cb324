"""`flotilla bench`: measure a fleet on this machine against plain NATS."""

from typing import Annotated

from cyclopts import Parameter

from flotilla.cli.console import exits, terminal


def bench(
    *,
    only: Annotated[list[str] | None, Parameter(negative="")] = None,
    check: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """
    Measure a fleet of its own against plain NATS on the same server; takes two minutes.

    Ratios taken in one run, raw and fleet in turn: absolute figures say more about the machine. Leave the machine alone
    meanwhile.

    Parameters
    ----------
    only
        One measurement, by name; may be repeated.
    check
        Exit with 1 when a bound is missed.
    json
        One JSON object in place of the table.
    """
    from flotilla.cli.bench.report import as_json, show  # noqa: PLC0415  (--help needs none of it)
    from flotilla.cli.bench.run import MEASUREMENTS, run  # noqa: PLC0415

    for name in only or ():
        if name not in MEASUREMENTS:
            raise exits.UsageError(f"--only {name}: expected one of {', '.join(MEASUREMENTS)}")
    report = run(only or (), terminal.aside)
    if json:
        terminal.json_line(as_json(report))
    else:
        show(report)
    return exits.FAILED if check and not report.holds else exits.OK
