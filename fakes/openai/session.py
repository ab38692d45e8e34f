"""A Realtime session's configuration, and the checks of what a client sends to change it.

Each function returns valid data, or raises `ClientError` with the code and parameter that the service would name.
"""

from __future__ import annotations

import binascii
from copy import deepcopy
from functools import lru_cache
from typing import Any

import orjson

from leakline.fakes.audio import SAMPLE_RATE
from leakline.fakes.openai.errors import ClientError

_FRAME_CHARACTERS = 1300
"""Longest base64 audio that is cached after decoding: 20 ms of PCM16 at 24 kHz are 1,280 characters."""

MAX_APPEND_BYTES = 15 * 1024 * 1024
"""Largest audio of one `input_audio_buffer.append` (OpenAI SDK, `input_audio_buffer_append_event.py`)."""


def default_session(session_id: str, model: str, expires_at: int) -> dict[str, Any]:
    """The configuration that a new session starts with (as announced in `session.created`)."""
    pcm = {"type": "audio/pcm", "rate": 24_000}
    return {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        "output_modalities": ["audio"],
        "instructions": "You are a helpful voice assistant.",
        "tools": [],
        "tool_choice": "auto",
        "max_output_tokens": "inf",
        "tracing": None,
        "truncation": "auto",
        "prompt": None,
        "expires_at": expires_at,
        "audio": {
            "input": {
                "format": pcm,
                "transcription": None,
                "noise_reduction": None,
                "turn_detection": {
                    "type": "server_vad",
                    "threshold": 0.5,
                    "prefix_padding_ms": 300,
                    "silence_duration_ms": 500,
                    "idle_timeout_ms": None,
                    "create_response": True,
                    "interrupt_response": True,
                },
            },
            "output": {"format": pcm, "voice": "marin", "speed": 1.0},
        },
        "include": None,
    }


def transcription_session(session: dict[str, Any]) -> dict[str, Any]:
    """`session` turned into a transcription session, which transcribes and never responds."""
    heard = session["audio"]["input"]
    return {
        "type": "transcription",
        "object": "realtime.transcription_session",
        "id": session["id"],
        "expires_at": session["expires_at"],
        "audio": {"input": heard},
        "include": None,
    }


def parse_event(message: str | bytes) -> dict[str, Any]:
    """The client event in `message`: a JSON object with a `type`."""
    try:
        event = orjson.loads(message)
    except ValueError:
        raise ClientError("We could not parse the JSON body of your request.", code="invalid_json") from None
    if not isinstance(event, dict):
        raise ClientError("Invalid type: expected an object.", code="invalid_type")
    if not isinstance(event.get("type"), str):
        raise ClientError("Missing required parameter: 'type'.", code="missing_required_parameter", param="type")
    return event


@lru_cache(maxsize=1024)
def _frame(audio: str) -> bytes:
    """The bytes of a short piece of audio; cached, since scripted callers send the same frames in every call."""
    return binascii.a2b_base64(audio, strict_mode=True)


def audio_of(event: dict[str, Any]) -> bytes:
    """The audio bytes of an `input_audio_buffer.append`."""
    audio = event.get("audio")
    if not isinstance(audio, str):
        raise ClientError("Missing required parameter: 'audio'.", code="missing_required_parameter", param="audio")
    try:
        raw = _frame(audio) if len(audio) <= _FRAME_CHARACTERS else binascii.a2b_base64(audio, strict_mode=True)
    except (binascii.Error, ValueError):
        raise ClientError(
            "Invalid 'audio'. Expected base64-encoded audio bytes, but got an invalid value.",
            code="invalid_value",
            param="audio",
        ) from None
    if len(raw) > MAX_APPEND_BYTES:
        raise ClientError(
            f"Invalid 'audio': {len(raw)} bytes, at most {MAX_APPEND_BYTES} are allowed.",
            code="invalid_value",
            param="audio",
        )
    return raw


def _merge(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    """`base` overridden by `change`: objects of the same `type` are merged, other values are replaced."""
    merged = dict(base)
    for key, value in change.items():
        old = base.get(key)
        if isinstance(value, dict) and isinstance(old, dict) and value.get("type") in (None, old.get("type")):
            merged[key] = _merge(old, value)
        else:
            merged[key] = deepcopy(value)
    return merged


def _check_format(side: object, param: str) -> None:
    fmt = side.get("format") if isinstance(side, dict) else None
    kind = fmt.get("type") if isinstance(fmt, dict) else None
    if not isinstance(kind, str) or kind not in SAMPLE_RATE:
        raise ClientError(
            f"Invalid value: {kind!r}. Supported values are: " + ", ".join(f"'{name}'" for name in SAMPLE_RATE),
            code="invalid_value",
            param=param,
        )


def vad_settings(session: dict[str, Any]) -> tuple[float, int, int]:
    """(threshold 0 to 1, prefix padding in ms, silence in ms) of the session's turn detection."""
    detection = session["audio"]["input"].get("turn_detection")
    if detection is None:
        return 0.5, 300, 500
    kind = detection.get("type") if isinstance(detection, dict) else None
    if not isinstance(detection, dict) or kind not in ("server_vad", "semantic_vad"):
        raise ClientError(
            f"Invalid value: {kind!r}. Supported values are: 'server_vad', 'semantic_vad'.",
            code="invalid_value",
            param="session.audio.input.turn_detection.type",
        )
    values = []
    for name, default, most in (
        ("threshold", 0.5, 1.0),
        ("prefix_padding_ms", 300, 10_000),
        ("silence_duration_ms", 500, 10_000),
        ("idle_timeout_ms", 0, 30_000),
    ):
        value = detection.get(name, default)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise ClientError(
                f"Invalid value for '{name}': {value!r}. Expected a number from 0 to {most}.",
                code="invalid_value",
                param=f"session.audio.input.turn_detection.{name}",
            )
        values.append(value)
    return float(values[0]), int(values[1]), int(values[2])


def updated_session(session: dict[str, Any], change: object) -> dict[str, Any]:
    """`session` after a `session.update` that carries `change`."""
    if not isinstance(change, dict):
        raise ClientError(
            "Missing required parameter: 'session'.", code="missing_required_parameter", param="session"
        )
    kind = change.get("type")
    if kind not in ("realtime", "transcription"):
        raise ClientError(
            f"Invalid value: {kind!r}. Supported values are: 'realtime', 'transcription'.",
            code="invalid_value" if "type" in change else "missing_required_parameter",
            param="session.type",
        )
    if kind != session["type"]:
        if kind == "realtime":
            raise ClientError(
                "A transcription session cannot become a realtime session.",
                code="invalid_value",
                param="session.type",
            )
        session = transcription_session(session)
    unknown = sorted(set(change) - set(session) - {"parallel_tool_calls", "reasoning"})
    if unknown:
        raise ClientError(
            f"Unknown parameter: 'session.{unknown[0]}'.",
            code="unknown_parameter",
            param=f"session.{unknown[0]}",
        )
    merged = _merge(session, change)
    merged["id"] = session["id"]
    for side in session["audio"]:
        config = merged["audio"].get(side) if isinstance(merged["audio"], dict) else None
        _check_format(config, f"session.audio.{side}.format")
    vad_settings(merged)
    return merged
