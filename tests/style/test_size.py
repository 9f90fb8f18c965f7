"""The code stays small and typed."""

from __future__ import annotations

import ast
import io
import tokenize

from source import PRODUCT, ROOT, Function, functions, python_files

MAX_COMPLEXITY, MAX_COMPLEX_FUNCTIONS = 10, 8
MAX_LOOSE_SIGNATURES = 20
MAX_MODULE_LINES, MAX_LONG_MODULES = 250, 8
#: Lines of code, without docstrings, comments and blank lines. With docstrings and comments it is about 22,000.
MAX_PRODUCT_LINES = 20_000
MAX_SANDBOX_LINES = 4_000

NOT_CODE = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER,
    tokenize.ENCODING,
}  # fmt: skip
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.IfExp, ast.ExceptHandler, ast.match_case, ast.comprehension)


def complexity(function: Function) -> int:
    """Return the cyclomatic complexity, boolean operators counted, without nested functions."""
    count, nodes = 1, list(ast.iter_child_nodes(function))
    while nodes:
        node = nodes.pop()
        if isinstance(node, Function):
            continue
        count += isinstance(node, BRANCHES)
        if isinstance(node, ast.comprehension):
            count += len(node.ifs)
        if isinstance(node, ast.BoolOp):
            count += len(node.values) - 1
        nodes += ast.iter_child_nodes(node)
    return count


def _annotations(function: Function) -> list[str]:
    arguments = function.args
    annotated = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    found = [argument.annotation for argument in annotated if argument.annotation] + [function.returns]
    return [ast.unparse(annotation) for annotation in found if annotation]


def test_functions_are_simple() -> None:
    """Few functions have a complexity over 10."""
    complex_functions = [place for place, function in functions(*PRODUCT) if complexity(function) > MAX_COMPLEXITY]

    assert len(complex_functions) <= MAX_COMPLEX_FUNCTIONS, complex_functions


def test_public_signatures_are_typed() -> None:
    """Few public functions take or return a `dict[str, Any]`."""
    loose = [
        place
        for place, function in functions(*PRODUCT)
        if not function.name.startswith("_") and any("dict[str, Any]" in text for text in _annotations(function))
    ]

    assert len(loose) <= MAX_LOOSE_SIGNATURES, loose


def test_modules_are_short() -> None:
    """Few modules have more than 250 lines."""
    texts = {str(path.relative_to(ROOT)): path.read_text().splitlines() for path in python_files(*PRODUCT)}
    long = {name: len(lines) for name, lines in texts.items() if len(lines) > MAX_MODULE_LINES}

    assert len(long) <= MAX_LONG_MODULES, long


def lines_of_code(text: str) -> int:
    """Return the number of lines that have code: docstrings, comments and blank lines do not count."""
    numbers: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in NOT_CODE:
            numbers.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            numbers.difference_update(range(docstring.lineno, (docstring.end_lineno or docstring.lineno) + 1))
    return len(numbers)


def test_lines_of_code_have_code() -> None:
    """A docstring, a comment and a blank line are no code, and a list of two lines is two."""
    text = """'Docstring.'

# Comment
x = [1,
2]  # another


def f():
    'Return.'
    return 1
"""

    assert lines_of_code(text) == 4


def test_the_product_is_short() -> None:
    """The product as a whole stays under its limit."""
    assert sum(lines_of_code(path.read_text()) for path in python_files(*PRODUCT)) < MAX_PRODUCT_LINES


def test_the_sandbox_is_short() -> None:
    """The sandbox stays under a limit of its own."""
    lines = [line for path in python_files("sandbox") for line in path.read_text().splitlines()]

    assert sum(bool(line.strip()) for line in lines) < MAX_SANDBOX_LINES
