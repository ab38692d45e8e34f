"""What the fake model answers to a text request of either API: the scripted turn, made to fit the request.

A turn's function calls are made when the request offers tools. When a request demands a call or JSON that the
script does not have, the answer is the simplest one that fits the request's schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from leakline.fakes.openai.schema import example
from leakline.fakes.openai.script import FunctionCall, Turn


@dataclass(frozen=True)
class Constraints:
    """What a request demands of the answer."""

    tools: Mapping[str, Any] = field(default_factory=dict)
    """{name of a function: the JSON Schema of its parameters}."""
    must_call: str | bool = False
    """The function that must be called, or True for any."""
    may_call: bool = True
    """Whether functions may be called at all (`tool_choice` is not `none`)."""
    parallel: bool = True
    """Whether there may be more than one call (`parallel_tool_calls`)."""
    schema: object = None
    """The JSON Schema that the text must fit; `{}` for any JSON object; None for plain text."""


@dataclass(frozen=True)
class Answer:
    """What the model says and calls."""

    text: str
    calls: tuple[FunctionCall, ...] = ()

    @property
    def words(self) -> int:
        """Its length in words, used as the token count."""
        return len(self.text.split()) + sum(len(c.arguments_json.split()) + 2 for c in self.calls)

    def pieces(self) -> list[str]:
        """The text in the pieces that a stream sends: words."""
        words = self.text.split(" ") if self.text else []
        return [word if index == 0 else f" {word}" for index, word in enumerate(words)]


def answer(reply: str | Turn, constraints: Constraints) -> Answer:
    """The scripted `reply`, made to fit `constraints`."""
    turn = Turn(reply) if isinstance(reply, str) else reply
    calls = turn.calls if constraints.tools and constraints.may_call else ()
    if constraints.must_call and constraints.tools and not calls:
        name = constraints.must_call if isinstance(constraints.must_call, str) else next(iter(constraints.tools))
        arguments = example(constraints.tools.get(name))
        calls = (FunctionCall(name, **(arguments if isinstance(arguments, dict) else {})),)
    if not constraints.parallel:
        calls = calls[:1]
    text = turn.transcript
    if constraints.schema is not None and not calls and not _is_json_object(text):
        text = json.dumps(example(constraints.schema) or {})
    return Answer("" if calls and constraints.must_call else text, calls)


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
