"""The Responses API: a request in, the response out, whole or as stream events.

Shapes are those of `types/responses/` in the OpenAI SDK (`response.py`, `response_stream_event.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from leakline.fakes.openai.answer import Answer, Constraints
from leakline.fakes.openai.chat import must_call, tools_of
from leakline.fakes.openai.errors import ClientError, missing, parameter, wrong_type

Body = dict[str, Any]


@dataclass(frozen=True)
class ResponsesRequest:
    """What a client asked for, as far as the answer depends on it."""

    model: str
    prompt_words: int
    """Words of the input, used as the token count."""
    stream: bool
    constraints: Constraints
    echoed: Body
    """The settings that the response repeats."""


def responses_request(body: object) -> ResponsesRequest:
    """The checked request of a JSON body. Raises ClientError, with the service's error."""
    if not isinstance(body, dict):
        raise ClientError("Invalid type: expected a JSON object.", code="invalid_type")
    model = parameter(body, "model", str, "a string")
    given = body.get("input")
    if given is None and body.get("prompt") is None:
        raise missing("input")
    if given is not None and not isinstance(given, str | list):
        raise wrong_type("input", "a string or an array", given)
    choice = body.get("tool_choice")
    return ResponsesRequest(
        model=model,
        prompt_words=len(str(given).split()),
        stream=body.get("stream") is True,
        constraints=Constraints(
            tools=tools_of(body),
            must_call=must_call(choice),
            may_call=choice != "none",
            parallel=body.get("parallel_tool_calls") is not False,
            schema=_schema(body.get("text")),
        ),
        echoed={
            "instructions": body.get("instructions"),
            "max_output_tokens": body.get("max_output_tokens"),
            "metadata": body.get("metadata") or {},
            "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
            "previous_response_id": body.get("previous_response_id"),
            "reasoning": body.get("reasoning") or {"effort": None, "summary": None},
            "store": body.get("store") is not False,
            "temperature": body.get("temperature", 1.0),
            "text": body.get("text") or {"format": {"type": "text"}},
            "tool_choice": choice or "auto",
            "tools": body.get("tools") or [],
            "top_p": body.get("top_p", 1.0),
            "truncation": body.get("truncation") or "disabled",
            "user": body.get("user"),
        },
    )


def response(request: ResponsesRequest, answer: Answer, *, number: int, created: int) -> Body:
    """The completed `response` that answers `request`."""
    return {
        **_head(request, number, created, "completed"),
        "output": _output(answer, number),
        "usage": {
            "input_tokens": request.prompt_words,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": answer.words,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": request.prompt_words + answer.words,
        },
    }


def stream(request: ResponsesRequest, answer: Answer, *, number: int, created: int) -> Iterator[Body]:
    """The events of a streamed response, in order."""
    for sequence, event in enumerate(_events(request, answer, number, created)):
        yield {**event, "sequence_number": sequence}


def _events(request: ResponsesRequest, answer: Answer, number: int, created: int) -> Iterator[Body]:
    begun = {**_head(request, number, created, "in_progress"), "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(_output(answer, number)):
        place = {"output_index": index, "item_id": item["id"]}
        empty = deepcopy(item) | {"status": "in_progress"}
        empty["content" if item["type"] == "message" else "arguments"] = [] if item["type"] == "message" else ""
        yield {"type": "response.output_item.added", "output_index": index, "item": empty}
        if item["type"] == "message":
            yield from _text_events(answer, {**place, "content_index": 0}, item["content"][0])
        else:
            arguments = item["arguments"]
            for at in range(0, len(arguments), 8):
                delta = arguments[at : at + 8]
                yield {"type": "response.function_call_arguments.delta", **place, "delta": delta}
            done = {**place, "name": item["name"], "arguments": arguments}
            yield {"type": "response.function_call_arguments.done", **done}
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    finished = response(request, answer, number=number, created=created)
    yield {"type": "response.completed", "response": finished}


def _text_events(answer: Answer, place: Body, part: Body) -> Iterator[Body]:
    yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
    for piece in answer.pieces():
        yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": answer.text, "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}


def _output(answer: Answer, number: int) -> list[Body]:
    items: list[Body] = []
    if answer.text or not answer.calls:
        part = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
        message = {"id": f"msg_{number:08d}", "type": "message", "status": "completed", "role": "assistant"}
        items.append({**message, "content": [part]})
    items += [
        {
            "id": f"fc_{number:08d}{index:04d}",
            "type": "function_call",
            "status": "completed",
            "call_id": f"call_{number:08d}{index:04d}",
            "name": call.name,
            "arguments": call.arguments_json,
        }
        for index, call in enumerate(answer.calls)
    ]
    return items


def _head(request: ResponsesRequest, number: int, created: int, status: str) -> Body:
    return {
        "id": f"resp_{number:08d}",
        "object": "response",
        "created_at": created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": request.model,
        "service_tier": "default",
        **request.echoed,
    }


def _schema(text: object) -> object:
    """The schema that `text.format` demands, in the form of `Constraints.schema`. Raises ClientError."""
    wanted = text.get("format") if isinstance(text, dict) else None
    if not isinstance(wanted, dict) or wanted.get("type") in (None, "text"):
        return None
    if wanted.get("type") == "json_schema":
        parameter(wanted, "name", str, "a string")
        return wanted.get("schema") or {}
    if wanted.get("type") == "json_object":
        return {}
    raise ClientError(
        f"Invalid value: {wanted.get('type')!r}. Supported values are: 'text', 'json_object', and 'json_schema'.",
        code="invalid_value",
        param="text.format.type",
    )
