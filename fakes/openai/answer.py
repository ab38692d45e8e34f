"""What the fake model answers to a text request, by whichever API: the scripted turn, made to fit the request.

A turn's function calls are made when the request offers tools; a request that demands a call or a JSON answer
which the script does not have gets the plainest one that fits its schema.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from leakline.fakes.openai.schema import example
from leakline.fakes.openai.script import FunctionCall, Turn


@dataclass(frozen=True)
class Wish:
    """What a request asks of the answer."""

    tools: Mapping[str, Any] = field(default_factory=dict)
    """{name of a function: the JSON Schema of its parameters}."""
    must_call: str | bool = False
    """The function that must be called, or True for any."""
    may_call: bool = True
    parallel: bool = True
    schema: object = None
    """The JSON Schema that the text must fit; `{}` for any JSON object; None for plain text."""


@dataclass(frozen=True)
class Answer:
    """What the model says and calls."""

    text: str
    calls: tuple[FunctionCall, ...] = ()

    @property
    def words(self) -> int:
        """Its length, which stands for tokens."""
        return len(self.text.split()) + sum(len(c.arguments_json.split()) + 2 for c in self.calls)

    def pieces(self) -> list[str]:
        """The text cut as a stream sends it: word by word."""
        words = self.text.split(" ") if self.text else []
        return [word if index == 0 else f" {word}" for index, word in enumerate(words)]


def answer(reply: str | Turn, wish: Wish) -> Answer:
    """The scripted `reply`, made to fit `wish`."""
    turn = Turn(reply) if isinstance(reply, str) else reply
    calls = turn.calls if wish.tools and wish.may_call else ()
    if wish.must_call and wish.tools and not calls:
        name = wish.must_call if isinstance(wish.must_call, str) else next(iter(wish.tools))
        arguments = example(wish.tools.get(name))
        calls = (FunctionCall(name, **(arguments if isinstance(arguments, dict) else {})),)
    if not wish.parallel:
        calls = calls[:1]
    text = turn.transcript
    if wish.schema is not None and not calls and not _is_json_object(text):
        text = json.dumps(example(wish.schema) or {})
    return Answer("" if calls and wish.must_call else text, calls)


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False
