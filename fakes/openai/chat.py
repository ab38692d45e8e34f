"""Chat completions: a request in, the answer out, whole or as stream chunks.

Shapes are those of `types/chat/` in the OpenAI SDK (`chat_completion.py`, `chat_completion_chunk.py`,
`completion_create_params.py`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from leakline.fakes.openai.answer import Answer, Constraints
from leakline.fakes.openai.errors import ClientError, parameter, wrong_type

_FORMATS = ("text", "json_object", "json_schema")


@dataclass(frozen=True)
class ChatRequest:
    """What a client asked for, as far as the answer depends on it."""

    model: str
    prompt_words: int
    """Words of all messages, used as the token count."""
    stream: bool
    include_usage: bool
    """Whether a stream ends with a chunk that has the usage."""
    constraints: Constraints


def chat_request(body: object) -> ChatRequest:
    """The checked request of a JSON body. Raises ClientError, with the service's error."""
    if not isinstance(body, dict):
        raise ClientError("Invalid type: expected a JSON object.", code="invalid_type")
    model = parameter(body, "model", str, "a string")
    messages = parameter(body, "messages", list, "an array")
    if not messages:
        raise ClientError(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead.",
            code="empty_array",
            param="messages",
        )
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise wrong_type(f"messages[{index}]", "an object", message)
        parameter(message, "role", str, "a string")
    options = body.get("stream_options")
    return ChatRequest(
        model=model,
        prompt_words=sum(len(str(message.get("content") or "").split()) for message in messages),
        stream=body.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        constraints=Constraints(
            tools=tools_of(body, nested="function"),
            must_call=must_call(body.get("tool_choice"), nested="function"),
            may_call=body.get("tool_choice") != "none",
            parallel=body.get("parallel_tool_calls") is not False,
            schema=_schema(body.get("response_format")),
        ),
    )


def tools_of(body: dict[str, Any], *, nested: str | None = None) -> dict[str, Any]:
    """{name: schema of the parameters} of a request's function tools. Raises ClientError.

    Chat completions nest a function in the tool, under the key `nested`; the Responses API does not.
    """
    tools = body.get("tools") or []
    if not isinstance(tools, list):
        raise wrong_type("tools", "an array of objects", tools)
    found = {}
    for index, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise wrong_type(f"tools[{index}]", "an object", tool)
        if tool.get("type") != "function":
            continue  # a tool that the service itself runs: the fake never calls it
        function = tool.get(nested) if nested else tool
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise ClientError(
                f"Missing required parameter: 'tools[{index}].{nested + '.' if nested else ''}name'.",
                code="missing_required_parameter",
                param=f"tools[{index}]",
            )
        found[function["name"]] = function.get("parameters")
    return found


def must_call(choice: object, *, nested: str | None = None) -> str | bool:
    """The name of the function that `tool_choice` demands; True for any function, False for no demand."""
    if isinstance(choice, dict):
        function = choice.get(nested) if nested else choice
        name = function.get("name") if isinstance(function, dict) else None
        return name if isinstance(name, str) else False
    return choice == "required"


def completion(request: ChatRequest, answer: Answer, *, number: int, created: int) -> dict[str, Any]:
    """The `chat.completion` that answers `request`."""
    message: dict[str, Any] = {
        "role": "assistant",
        "content": answer.text or None,
        "refusal": None,
        "annotations": [],
    }
    if answer.calls:
        message["tool_calls"] = [_tool_call(answer, index, number) for index in range(len(answer.calls))]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answer)}
    return {
        **_head(request, number, created, "chat.completion"),
        "choices": [choice],
        "usage": _usage(request, answer),
    }


def chunks(request: ChatRequest, answer: Answer, *, number: int, created: int) -> Iterator[dict[str, Any]]:
    """The `chat.completion.chunk`s that answer `request`."""
    head = _head(request, number, created, "chat.completion.chunk")
    if request.include_usage:
        head["usage"] = None
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": "" if answer.text else None, "refusal": None}]
    deltas += [{"content": piece} for piece in answer.pieces()]
    for index, call in enumerate(answer.calls):
        whole = _tool_call(answer, index, number)
        opening = {**whole, "index": index, "function": {"name": call.name, "arguments": ""}}
        deltas.append({"tool_calls": [opening]})
        text = call.arguments_json
        deltas += [
            {"tool_calls": [{"index": index, "function": {"arguments": text[at : at + 8]}}]}
            for at in range(0, len(text), 8)
        ]
    for delta in deltas:
        yield {**head, "choices": [_choice(delta, None)]}
    yield {**head, "choices": [_choice({}, _finish(answer))]}
    if request.include_usage:
        yield {**head, "choices": [], "usage": _usage(request, answer)}


def _schema(response_format: object) -> object:
    if response_format is None:
        return None
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    if not isinstance(response_format, dict) or kind not in _FORMATS:
        raise ClientError(
            f"Invalid value: {kind!r}. Supported values are: " + ", ".join(f"'{name}'" for name in _FORMATS) + ".",
            code="invalid_value",
            param="response_format.type",
        )
    if kind == "json_schema":
        wrapper = parameter(response_format, "json_schema", dict, "an object")
        parameter(wrapper, "name", str, "a string")
        return wrapper.get("schema") or {}
    return {} if kind == "json_object" else None


def _finish(answer: Answer) -> str:
    return "tool_calls" if answer.calls else "stop"


def _tool_call(answer: Answer, index: int, number: int) -> dict[str, Any]:
    call = answer.calls[index]
    function = {"name": call.name, "arguments": call.arguments_json}
    return {"id": f"call_{number:08d}{index:04d}", "type": "function", "function": function}


def _choice(delta: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _head(request: ChatRequest, number: int, created: int, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{number:08d}",
        "object": kind,
        "created": created,
        "model": request.model,
        "service_tier": "default",
        "system_fingerprint": f"fp_{1:010x}",
    }


def _usage(request: ChatRequest, answer: Answer) -> dict[str, Any]:
    return {
        "prompt_tokens": request.prompt_words,
        "completion_tokens": answer.words,
        "total_tokens": request.prompt_words + answer.words,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": 0,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
