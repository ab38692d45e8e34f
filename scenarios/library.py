"""The built-in scenarios, and how one is found by name."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import MappingProxyType

from fakes.openai.script import FunctionCall
from scenarios.scenario import Scenario, ScenarioError
from scenarios.steps import Agent, Drop, HangUp, Listen, Say

_ORDER = '{"items": [{"name": "burger", "quantity": 2}]}'

_SCENARIOS = (
    # Fits any server: the caller speaks first, and hears whatever is said.
    Scenario(
        "question",
        Say("Are you open today?", seconds=0.6),
        Agent("We are, until ten tonight.", seconds=0.8),
        Listen(),
        HangUp(),
    ),
    Scenario(
        "two_burgers",
        Agent("Welcome to the Grill. What can I get you?", seconds=0.6),
        Listen(),
        Say("Two burgers, please.", seconds=0.6),
        Agent(
            "Two burgers. Anything else?",
            seconds=0.6,
            calls=[FunctionCall("add_to_cart", item="burger", quantity=2)],
        ),
        Listen(),
        HangUp(),
        chat=(_ORDER,),
    ),
    Scenario("voicemail", Say("Two burgers, please. My name is Ada.", seconds=1.0), HangUp(), chat=(_ORDER,)),
    # The edge paths, where leaks hide.
    Scenario("early_hang_up", HangUp(), chat=(_ORDER,)),
    Scenario(
        "hang_up_while_speaking",
        Say("Are you open today?", seconds=0.6),
        Agent("We are, until ten tonight, and on Sundays from noon.", seconds=3.0),
        Listen(seconds=0.4),
        HangUp(),
    ),
    Scenario(
        "drop",
        Say("Are you open today?", seconds=0.6),
        Agent("We are, until ten tonight, and on Sundays from noon.", seconds=3.0),
        Listen(seconds=0.4),
        Drop(),
    ),
)

BUILT_IN = MappingProxyType({scenario.name: scenario for scenario in _SCENARIOS})
"""The built-in scenarios by name."""


def load(reference: str) -> Scenario:
    """The scenario that `reference` names: a built-in name, or `path/to/file.py:variable`.

    Raises ScenarioError, saying what there is.
    """
    if reference in BUILT_IN:
        return BUILT_IN[reference]
    path, colon, variable = reference.rpartition(":")
    if not colon:
        raise ScenarioError(
            f"scenario: expected one of {', '.join(BUILT_IN)}, or FILE.py:VARIABLE, found {reference!r}"
        )
    return _from_file(Path(path), variable)


def _from_file(path: Path, variable: str) -> Scenario:
    if not path.is_file():
        raise ScenarioError(f"scenario: no such file: {path}")
    spec = importlib.util.spec_from_file_location(f"leakline_scenario_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ScenarioError(f"scenario: expected a Python file, found {path}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ScenarioError:
        raise
    except Exception as error:
        raise ScenarioError(f"scenario: {path} does not run: {type(error).__name__}: {error}") from error
    found = getattr(module, variable, None)
    if not isinstance(found, Scenario):
        names = [name for name, value in vars(module).items() if isinstance(value, Scenario)]
        raise ScenarioError(
            f"scenario: expected a Scenario named {variable!r} in {path}, which has {', '.join(names) or 'none'}"
        )
    return found
