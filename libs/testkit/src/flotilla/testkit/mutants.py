"""
The small changes that can be made to a module, one at a time: what `mutation.py` asks the tests to notice. Pure.

Changed are the bodies of functions: comparisons, arithmetic, conditions, constants, arguments, statements. Not changed are
annotations, docstrings, decorators, defaults, constants of modules, and what is given to `cast`, to loggers and
to errors of the program's own (`AssertionError`).
"""

import ast
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, Final, NamedTuple

_Function = ast.FunctionDef | ast.AsyncFunctionDef

_SWAPPED: Final[dict[type[ast.AST], type[ast.AST]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
_INVERTED_ITSELF: Final = (ast.Compare, ast.UnaryOp)
_NAMES: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}
_UNSEEN: Final = frozenset({"AssertionError", "cast", "debug", "info", "warning", "error", "exception"})


class Mutant(NamedTuple):
    """
    One change of one function.

    Attributes:
        function: The function's qualified name.
        line: That is changed, counted from 1.
        source: What stands in that line.
        text: What of it is changed, and into what.
        code: Of the whole function, changed.
    """

    function: str
    line: int
    source: str
    text: str
    code: CodeType


class _Change(NamedTuple):
    node: ast.AST
    text: str
    make: Callable[[], None]
    undo: Callable[[], None]


def mutants(source: str, path: str) -> Iterator[Mutant]:
    """Every change of a module's functions, in the order of its lines; `path` is the name that its code objects carry."""
    tree, lines = ast.parse(source), source.splitlines()
    for name, function in _functions(tree, ""):
        for change in _changes(function):
            before = _text(change.node)
            change.make()
            text = change.text or f"{before} -> {_text(change.node)}"
            code = _code_of(compile(ast.fix_missing_locations(tree), path, "exec"), name, function)
            change.undo()
            if code is not None:
                line = getattr(change.node, "lineno", function.lineno)
                yield Mutant(name, line, lines[line - 1].strip(), text, code)


def _text(node: ast.AST) -> str:
    """On one line; of a statement with a block, its condition."""
    return ast.unparse(node.test if isinstance(node, ast.If | ast.While) else node).replace("\n", " ")


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, _Function]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _Function):
            yield prefix + child.name, child
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")


def _code_of(code: CodeType, name: str, function: _Function) -> CodeType | None:
    first = function.decorator_list[0].lineno if function.decorator_list else function.lineno
    inner = [each for each in code.co_consts if isinstance(each, CodeType)]
    for each in inner:
        if each.co_qualname == name and each.co_firstlineno == first:
            return each
    return next((found for each in inner if (found := _code_of(each, name, function)) is not None), None)


def _changes(function: _Function) -> Iterator[_Change]:
    body = function.body
    has_docstring = isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant)
    for statement in body[1:] if has_docstring else body:
        yield from _below(statement)
    yield from _in_block(body)


def _below(node: ast.AST) -> Iterator[_Change]:
    if isinstance(node, ast.AnnAssign):
        if node.value is not None:
            yield from _below(node.value)
        return
    if isinstance(node, ast.Call) and _called(node) in _UNSEEN:
        return
    yield from _of(node)
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:  # pyright: ignore[reportUnknownVariableType]
            if isinstance(child, ast.AST) and name not in ("annotation", "returns", "decorator_list"):
                yield from _below(child)
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if isinstance(block, list):
            yield from _in_block(block)  # pyright: ignore[reportUnknownArgumentType]


def _called(node: ast.Call) -> str:
    if isinstance(node.func, ast.Name):
        return node.func.id
    return node.func.attr if isinstance(node.func, ast.Attribute) else ""


def _of(node: ast.AST) -> Iterator[_Change]:  # noqa: C901, PLR0912  (one for each kind of node)
    match node:
        case ast.Compare(ops=operators):
            for number, operator in enumerate(operators):
                yield _in_list(node, operators, number, _SWAPPED[type(operator)]())
        case ast.BinOp() | ast.BoolOp() | ast.AugAssign():
            if type(node.op) in _SWAPPED:
                yield _field(node, "op", _SWAPPED[type(node.op)]())
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield _field(node, "operand", _negated(operand))
        case ast.UnaryOp(op=ast.USub()):
            yield _field(node, "op", ast.UAdd())
        case ast.Constant(value=bool() as value):
            yield _field(node, "value", not value)
        case ast.Constant(value=int() | float() as value):
            yield _field(node, "value", value + 1)
        case ast.Constant(value=str() as value) if value:
            yield _field(node, "value", f"not {value}")
        case ast.If(test=test) | ast.While(test=test) | ast.IfExp(test=test) if not isinstance(test, _INVERTED_ITSELF):
            yield _field(node, "test", _negated(test))
        case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
            yield _field(node, "value", ast.Constant(None))
        case ast.Name(id=name) if name in _NAMES:
            yield _field(node, "id", _NAMES[name])
        case ast.Call(args=arguments, keywords=keywords):
            for number, argument in enumerate(arguments):
                if not isinstance(argument, ast.Starred | ast.Constant):
                    yield _in_list(node, arguments, number, ast.Constant(None))
            for number in range(len(keywords)):
                yield _without(node, keywords, number)
        case ast.comprehension(ifs=conditions):
            for number, condition in enumerate(conditions):
                yield _in_list(node, conditions, number, _negated(condition))
        case _:
            pass


def _negated(test: ast.expr) -> ast.expr:
    return ast.UnaryOp(ast.Not(), test)


def _in_block(block: list[ast.stmt]) -> Iterator[_Change]:
    for number, statement in enumerate(block):
        if isinstance(statement, ast.Break | ast.Continue):
            other = ast.Continue() if isinstance(statement, ast.Break) else ast.Break()
            yield _in_list(statement, block, number, other, f"{ast.unparse(statement)} -> {ast.unparse(other)}")
        called = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(called, ast.Await):
            called = called.value
        if isinstance(statement, ast.AugAssign) or (isinstance(called, ast.Call) and _called(called) not in _UNSEEN):
            yield _in_list(statement, block, number, ast.Pass(), f"{_text(statement)} -> left out")


def _field(node: ast.AST, name: str, value: object, text: str = "") -> _Change:
    before = getattr(node, name)
    return _Change(node, text, lambda: setattr(node, name, value), lambda: setattr(node, name, before))


def _in_list(node: ast.AST, items: list[Any], number: int, value: ast.AST, text: str = "") -> _Change:
    before: Any = items[number]

    def put(item: object) -> None:
        items[number] = item

    return _Change(node, text, lambda: put(value), lambda: put(before))


def _without(node: ast.AST, items: list[ast.keyword], number: int) -> _Change:
    before = items[number]
    return _Change(node, "", lambda: items.__delitem__(number), lambda: items.insert(number, before))
