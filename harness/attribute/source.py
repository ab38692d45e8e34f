"""What the source files on disk say about a line: the function that it is in."""

from __future__ import annotations

import ast
import linecache
from functools import lru_cache
from pathlib import Path

_LINES_AROUND = 4
_MOST_CHARACTERS = 200

_Spans = tuple[tuple[int, int, str], ...]


def function_at(file: str, line: int) -> str:
    """Qualified name of the innermost function around a line; empty when there is none, or no source."""
    found = ""
    for first, last, name in _functions(file):
        if first <= line <= last:
            found = name  # outer functions come first
    return found


def line_text(file: str, line: int) -> str:
    """What stands on a line, without its indentation; empty when there is no source."""
    return linecache.getline(file, line).strip()


def context(file: str, line: int) -> tuple[tuple[int, str], ...]:
    """(number, text) of the lines around one; empty when there is no source."""
    numbers = range(max(1, line - _LINES_AROUND), line + _LINES_AROUND + 1)
    rows = [(number, linecache.getline(file, number).rstrip("\r\n")[:_MOST_CHARACTERS]) for number in numbers]
    while rows and not rows[-1][1]:
        rows.pop()  # beyond the file's end
    return tuple(rows)


@lru_cache(maxsize=256)
def _functions(file: str) -> _Spans:
    try:
        tree = ast.parse(Path(file).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return ()
    spans: list[tuple[int, int, str]] = []

    def visit(node: ast.AST, prefix: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
                name = prefix + child.name
                spans.append((child.lineno, child.end_lineno or child.lineno, name))
                visit(child, f"{name}.<locals>.")
            elif isinstance(child, ast.ClassDef):
                visit(child, f"{prefix}{child.name}.")
            else:
                visit(child, prefix)

    visit(tree, "")
    return tuple(spans)
