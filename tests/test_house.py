"""The house: which room may import which. Arrows run down, none runs up, and no modules go round in a circle."""

import ast
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
AGENT = ROOT / "harness" / "agents" / "python"

FLOORS: tuple[tuple[str, ...], ...] = (
    ("fakes", "harness.data", "restaurant"),
    ("scenarios",),
    ("harness.agents", "harness.judge", "harness.server"),
    ("harness.attribute", "harness.drive", "harness.measure"),
    ("harness.run",),
    ("reports",),
    ("",),
)
"""From the ground up; the faces, which lie in `leakline/` itself, have no name. A room may import those below it."""

ROOMS = sorted((room for floor in FLOORS for room in floor), key=len, reverse=True)


def modules() -> dict[str, Path]:
    """{name below `leakline`: file} of all that a wheel has, without what runs inside a server."""
    found = {path.stem: path for path in (ROOT / "leakline").glob("*.py")}
    for folder in ("fakes", "harness", "reports", "restaurant", "scenarios"):
        for path in (ROOT / folder).rglob("*.py"):
            if AGENT not in path.parents:
                parts = path.relative_to(ROOT).with_suffix("").parts
                found[".".join(parts).removesuffix(".__init__")] = path
    return found


def imports(path: Path, package: str) -> Iterator[tuple[str, str]]:
    """(module, name) of all that a file imports from `package`, whose own name is left out; for types alone too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
            if node.module == package or node.module.startswith(f"{package}."):
                yield from ((node.module.removeprefix(package)[1:], each.name) for each in node.names)
        elif isinstance(node, ast.Import):
            yield from (
                (each.name[len(package) + 1 :], "") for each in node.names if each.name.split(".")[0] == package
            )


def graph(known: dict[str, Path], package: str) -> dict[str, set[str]]:
    """{module: modules that it imports}, of those that are known. `from a import b` is of `a.b` where that is one."""

    def named(module: str, name: str) -> str:
        whole = f"{module}.{name}".strip(".")
        return whole if whole in known else module

    return {
        each: {named(*found) for found in imports(path, package)} & known.keys() - {each}
        for each, path in known.items()
    }


def room_of(module: str) -> str:
    return next((room for room in ROOMS if room and (module == room or module.startswith(f"{room}."))), "")


def arrows() -> dict[str, set[str]]:
    """{room: rooms that it imports}."""
    between: dict[str, set[str]] = {room: set() for floor in FLOORS for room in floor}
    for module, others in graph(modules(), "leakline").items():
        between[room_of(module)] |= {room_of(other) for other in others} - {room_of(module), "harness"}
    return between


def picture(of: dict[str, set[str]]) -> str:
    """The rooms from the top floor down, each with those that it imports."""
    rows = [
        f"  {number}  {room or 'leakline':18} -> {', '.join(sorted(of[room])) or '-'}"
        for number, floor in reversed(list(enumerate(FLOORS)))
        for room in floor
    ]
    return "\n".join(["", *rows, ""])


def test_every_arrow_runs_down(capsys: pytest.CaptureFixture[str]) -> None:
    floor_of = {room: number for number, floor in enumerate(FLOORS) for room in floor}
    found = arrows()
    with capsys.disabled():
        sys.stdout.write(picture(found))
    wrong = [f"{room} -> {other}" for room in found for other in found[room] if floor_of[other] >= floor_of[room]]
    assert not wrong, f"these arrows run up, or along a floor: {', '.join(wrong)}{picture(found)}"


def cycle(of: dict[str, set[str]]) -> str:
    """A circle of modules as text; empty when there is none."""
    try:
        TopologicalSorter(of).prepare()
    except CycleError as error:
        return " -> ".join(error.args[1])
    return ""


def test_no_modules_import_each_other_in_a_circle() -> None:
    assert cycle(graph(modules(), "leakline")) == ""


def test_nor_do_those_of_the_agent_in_the_server() -> None:
    known = {path.stem: path for path in (AGENT / "leakline_agent").glob("*.py")}
    assert "commands" in known
    assert cycle(graph(known, "leakline_agent")) == ""


def test_a_circle_would_be_seen() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) != ""


def test_what_runs_in_a_server_imports_nothing_of_leaklines() -> None:
    for path in AGENT.rglob("*.py"):
        assert not list(imports(path, "leakline")), path
