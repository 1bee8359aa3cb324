"""Whatever the command tells goes through one module, which keeps a terminal safe."""

import ast
from pathlib import Path

import flotilla.cli

ALLOWED = {
    "console/terminal.py": "the way out itself",
    "bench/provider_stand_in.py": "a child's end of a pipe",
    "bench/responder.py": "a child's end of a pipe",
    "bench/timed_worker.py": "a child's end of a pipe",
    "command.py": "closes the stream whose reader is gone",
}
SOURCE = Path(flotilla.cli.__file__).parent


def _ways_out(source: str) -> list[str]:
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Call(func=ast.Name(id="print" | "Console" as name)):
                found.append(f"{node.lineno}: {name}")
            case ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "stderr" | "__stdout__" as name):
                found.append(f"{node.lineno}: sys.{name}")
            case _:
                pass
    return found


def test_nothing_writes_to_a_terminal_by_itself():
    """
    A new command that prints would print what a model says.
    """
    files = {str(file.relative_to(SOURCE)): file for file in SOURCE.rglob("*.py")}

    found = {name: _ways_out(file.read_text()) for name, file in files.items() if name not in ALLOWED}

    assert {} == {name: ways for name, ways in found.items() if ways}
    assert ALLOWED.keys() <= files.keys()
    assert _ways_out(files["console/terminal.py"].read_text())
