"""Chat completions: a request in, the scripted reply out, whole or as stream chunks.

Shapes are those of `types/chat/chat_completion.py` and `chat_completion_chunk.py` in the OpenAI SDK.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fakes.openai.session import ClientError


@dataclass(frozen=True)
class ChatRequest:
    """What a client asked for, as far as a scripted reply depends on it."""

    model: str
    prompt_words: int
    stream: bool
    include_usage: bool


def chat_request(body: object) -> ChatRequest:
    """Check a request body. Raises ClientError as the service would answer it."""
    if not isinstance(body, dict):
        raise ClientError("Invalid type: expected a JSON object.", code="invalid_type")
    for name, kind in (("model", str), ("messages", list)):
        if name not in body:
            raise ClientError(f"Missing required parameter: '{name}'.", code="missing_required_parameter", param=name)
        if not isinstance(body[name], kind):
            raise ClientError(f"Invalid type for '{name}'.", code="invalid_type", param=name)
    if not body["messages"]:
        raise ClientError(
            "Invalid 'messages': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead.",
            code="empty_array",
            param="messages",
        )
    options = body.get("stream_options")
    return ChatRequest(
        model=body["model"],
        prompt_words=sum(len(str(message).split()) for message in body["messages"]),
        stream=body.get("stream") is True,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def completion(request: ChatRequest, reply: str, *, number: int, created: int) -> dict[str, Any]:
    """The `chat.completion` that answers `request`."""
    return {
        **_head(request, number, created, "chat.completion"),
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": reply, "refusal": None, "annotations": []},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": _usage(request, reply),
    }


def chunks(request: ChatRequest, reply: str, *, number: int, created: int) -> Iterator[dict[str, Any]]:
    """The `chat.completion.chunk`s that answer `request`."""
    head = _head(request, number, created, "chat.completion.chunk")
    words = reply.split(" ")
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"content": word if index == 0 else f" {word}"} for index, word in enumerate(words)]
    for delta in deltas:
        yield {**head, "choices": [_choice(delta, None)]}
    yield {**head, "choices": [_choice({}, "stop")]}
    if request.include_usage:
        yield {**head, "choices": [], "usage": _usage(request, reply)}


def _choice(delta: dict[str, Any], finish_reason: str | None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _head(request: ChatRequest, number: int, created: int, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{number:08d}",
        "object": kind,
        "created": created,
        "model": request.model,
        "service_tier": "default",
        "system_fingerprint": None,
    }


def _usage(request: ChatRequest, reply: str) -> dict[str, int]:
    said = len(reply.split())
    return {
        "prompt_tokens": request.prompt_words,
        "completion_tokens": said,
        "total_tokens": request.prompt_words + said,
    }
