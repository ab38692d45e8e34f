"""The built-in scenarios, and how one is found by name."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import MappingProxyType

from leakline.fakes.openai.script import FunctionCall
from leakline.scenarios.caller import Browser, Network
from leakline.scenarios.scenario import Scenario, ScenarioError
from leakline.scenarios.steps import Agent, Drop, HangUp, Listen, Pause, Press, Say, Send

_ORDER = '{"items": [{"name": "burger", "quantity": 2}]}'

_HOURS = "We are, until ten tonight, and on Sundays from noon."
_ASKS = (Say("Are you open today?", seconds=0.6), Agent(_HOURS, seconds=0.8), Listen())
_IS_INTERRUPTED = (Say("Are you open today?", seconds=0.6), Agent(_HOURS, seconds=3.0), Listen(seconds=0.4))

_SPEAKS_ON_A_PAGE = (
    Send('{"type": "start"}'),
    Say("Two burgers, please.", seconds=0.6),
    Send('{"type": "stop"}'),
    Listen(),
    HangUp(),
)

_SCENARIOS = (
    # Calls without trouble. The first fits any server: the caller speaks first, and any answer will do.
    Scenario(
        "question",
        Say("Are you open today?", seconds=0.6),
        Agent("We are, until ten tonight.", seconds=0.8),
        Listen(),
        HangUp(),
        about="the caller asks, hears the answer and hangs up",
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
        about="the agent greets, the caller orders, the model calls a function",
    ),
    Scenario(
        "voicemail",
        Say("Two burgers, please. My name is Ada.", seconds=1.0),
        HangUp(),
        chat=(_ORDER,),
        about="the caller speaks and hangs up without an answer",
    ),
    Scenario(
        "long_call",
        *(step for _ in range(8) for step in (*_ASKS, Pause(0.3))),
        HangUp(),
        about="eight turns",
    ),
    Scenario("dtmf", Press("42#"), *_ASKS, Press("1"), Pause(0.3), HangUp(), about="the caller presses keys too"),
    Scenario("silence", Pause(4.0), HangUp(), about="the caller never speaks"),
    Scenario(
        "barge_in",
        *_IS_INTERRUPTED,
        Say("Sorry, and on Mondays?", seconds=0.6),
        Agent("From four.", seconds=0.6),
        Listen(),
        HangUp(),
        about="the caller interrupts the answer",
    ),
    Scenario(
        "transfer",
        Say("I want to speak to a person.", seconds=0.6),
        Agent("I will put you through.", seconds=0.6, calls=[FunctionCall("transfer_call", department="manager")]),
        Listen(),
        HangUp(),
        about="the caller asks for a person, the model calls transfer_call, and the stream ends as the call goes on",
    ),
    Scenario(
        "browser_session",
        *_SPEAKS_ON_A_PAGE,
        chat=("Two burgers. Anything else?",),
        browser=Browser("/voice"),
        about="a page in a browser records, and is answered, on the demo's /voice; for your own server see Browser",
    ),
    # Edge paths on the caller's side, where leaks hide.
    Scenario(
        "slow_network",
        *_ASKS,
        HangUp(),
        network=Network(jitter_s=0.3, loss=0.05),
        about="the caller's audio comes in bursts, and one frame in twenty is lost",
    ),
    Scenario("early_hang_up", HangUp(), chat=(_ORDER,), about="the caller hangs up at once"),
    Scenario(
        "hang_up_in_handshake",
        HangUp(),
        faults=("latency(seconds=0.5)@realtime",),
        about="the caller hangs up while the server is still connecting to a slow model",
    ),
    Scenario(
        "hang_up_while_speaking", *_IS_INTERRUPTED, HangUp(), about="the caller hangs up while the agent speaks"
    ),
    Scenario("drop", *_IS_INTERRUPTED, Drop(), about="the caller's connection breaks: a TCP reset, with no stop"),
    Scenario(
        "half_open_caller",
        *_ASKS,
        HangUp(),
        faults=("half_open@media-stream/stop",),
        about="the caller's connection falls silent without a close, and is reset five seconds later",
    ),
    Scenario(
        "reconnect_storm",
        Say("Hello?", seconds=0.2),
        Drop(),
        about="connections that break as soon as the caller speaks, call after call",
    ),
    Scenario(
        "capacity_refusal",
        Say("Are you open today?", seconds=0.6),
        Pause(0.4),
        HangUp(),
        refusable=True,
        about="the server is full and may refuse the call: set its limit low, with --env",
    ),
    Scenario(
        "server_restart",
        *_IS_INTERRUPTED,
        Pause(8.0),
        HangUp(),
        refusable=True,
        restart_after_s=3.0,
        about="the server is restarted (SIGTERM) in the middle of its calls: what outlives it is a leak",
    ),
    # Edge paths on the model's side.
    Scenario(
        "model_refuses",
        *_ASKS,
        HangUp(),
        faults=("status(code=503)@realtime",),
        about="the model refuses each session",
    ),
    Scenario(
        "model_at_its_limit",
        *_ASKS,
        HangUp(),
        faults=("status(code=429, retry_after_s=0.1)@realtime x8",),
        about="the model's rate limit is hit by the first calls",
    ),
    Scenario(
        "model_error",
        *_ASKS,
        HangUp(),
        faults=("error@realtime/response.content_part.added",),
        about="the model reports an error in the middle of its turn, and the session stays open",
    ),
    Scenario(
        "model_closes",
        *_ASKS,
        HangUp(),
        faults=("close(code=1011)@realtime/response.output_audio.delta",),
        about="the model closes in the middle of its answer",
    ),
    Scenario(
        "model_drops",
        *_ASKS,
        HangUp(),
        faults=("reset@realtime/response.output_audio.delta",),
        about="the model's connection is reset in the middle of its answer",
    ),
    Scenario(
        "model_never_answers",
        Say("Are you open today?", seconds=0.6),
        Agent("", seconds=0.1),
        Pause(2.0),
        HangUp(),
        faults=("black_hole@realtime/response.created",),
        about="the model takes the caller's audio and never answers",
    ),
    Scenario(
        "transcription_interrupted",
        *_SPEAKS_ON_A_PAGE,
        browser=Browser("/voice"),
        faults=("reset@audio.transcriptions",),
        about="the upload of a browser's recording is reset",
    ),
    Scenario(
        "session_expires",
        *_ASKS,
        HangUp(),
        faults=("expire_session@realtime/response.done",),
        about="the model ends the session, which has reached its maximum duration",
    ),
)

BUILT_IN = MappingProxyType({scenario.name: scenario for scenario in _SCENARIOS})
"""The built-in scenarios by name."""


def load(reference: str) -> Scenario:
    """The scenario that `reference` names: a built-in name, or `path/to/file.py:variable`.

    Raises ScenarioError, which lists the names that there are.
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
