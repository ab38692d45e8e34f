"""Transcriptions: an audio file in, scripted words out, in every format of `/v1/audio/transcriptions`.

Shapes are those of `types/audio/` in the OpenAI SDK (`transcription.py`, `transcription_verbose.py`,
`transcription_stream_event.py`). Of the file only its duration is used.
"""

from __future__ import annotations

import io
import wave
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from leakline.fakes.openai.errors import ClientError, missing

MOST_BYTES = 25 * 1024 * 1024
"""Largest file that the service accepts (OpenAI docs, "Speech to text": 25 MB)."""

_FILE_TYPES = ("flac", "m4a", "mp3", "mp4", "mpeg", "mpga", "oga", "ogg", "wav", "webm")
_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")
_LEAST_S = 0.1
"""Shortest audio that the service accepts, in seconds."""


@dataclass(frozen=True)
class TranscriptionRequest:
    """What a client asked for, as far as the answer depends on it."""

    model: str
    seconds: float
    """Duration of the uploaded audio."""
    format: str
    """The `response_format`."""
    stream: bool
    language: str
    """ISO 639-1 code."""
    words: bool
    """Whether it asked for the time of each word."""


def transcription_request(fields: dict[str, list[str]], file: tuple[str, bytes] | None) -> TranscriptionRequest:
    """The checked request of a form: text fields ({name: values}) and file (name, content). Raises ClientError."""
    if file is None:
        raise missing("file")
    if not fields.get("model"):
        raise missing("model")
    name, content = file
    ending = name.rpartition(".")[2].lower()
    if ending not in _FILE_TYPES:
        raise ClientError(f"Unrecognized file format. Supported formats: {list(_FILE_TYPES)}", param="file")
    if len(content) > MOST_BYTES:
        raise ClientError(
            f"{len(content)}: Maximum content size limit ({MOST_BYTES}) exceeded.", status=413, param="file"
        )
    model, fmt = fields["model"][0], fields.get("response_format", ["json"])[0]
    only_json = model.startswith("gpt-4o") and fmt not in ("json", "text")
    if fmt not in _FORMATS or only_json:
        known = ("json", "text") if only_json else _FORMATS
        raise ClientError(
            f"response_format '{fmt}' is not compatible with model '{model}'. Use one of: {', '.join(known)}.",
            code="unsupported_value",
            param="response_format",
        )
    seconds = seconds_of_file(content)
    if seconds < _LEAST_S:
        raise ClientError(
            f"Audio file is too short. Minimum audio length is {_LEAST_S} seconds.",
            code="audio_too_short",
            param="file",
        )
    return TranscriptionRequest(
        model=model,
        seconds=seconds,
        format=fmt,
        stream=fields.get("stream", [""])[0].lower() == "true",
        language=fields.get("language", ["en"])[0],
        words="word" in fields.get("timestamp_granularities[]", []),
    )


def seconds_of_file(content: bytes) -> float:
    """Duration of an audio file: exact for WAV, else by PyAV; without PyAV estimated from a typical bit rate."""
    try:
        with wave.open(io.BytesIO(content)) as file:
            # The header of a WAV file that was written to a pipe may claim any number of frames.
            bytes_a_second = file.getframerate() * file.getnchannels() * file.getsampwidth()
            return float(min(file.getnframes() / file.getframerate(), len(content) / bytes_a_second))
    except (wave.Error, EOFError, ZeroDivisionError):
        pass
    try:
        import av

        with av.open(io.BytesIO(content), "r") as container:
            if container.duration:
                return float(container.duration) / float(av.time_base)
    except (ImportError, OSError, ValueError):
        pass
    return len(content) / 8000


def whole(request: TranscriptionRequest, text: str) -> dict[str, Any] | str:
    """The answer: an object for the JSON formats, the whole text for the others."""
    if request.format == "json":
        return {"text": text, "usage": _usage(request, text)}
    if request.format == "text":
        return text + "\n"
    if request.format == "srt":
        return f"1\n{_stamp(0, ',')} --> {_stamp(request.seconds, ',')}\n{text}\n\n"
    if request.format == "vtt":
        return f"WEBVTT\n\n{_stamp(0, '.')} --> {_stamp(request.seconds, '.')}\n{text}\n\n"
    segment = {
        "id": 0,
        "seek": 0,
        "start": 0.0,
        "end": request.seconds,
        "text": text,
        "tokens": [],
        "temperature": 0.0,
        "avg_logprob": -0.2,
        "compression_ratio": 1.0,
        "no_speech_prob": 0.01,
    }
    verbose = {
        "task": "transcribe",
        "language": "english" if request.language == "en" else request.language,
        "duration": request.seconds,
        "text": text,
        "segments": [segment],
        "usage": {"type": "duration", "seconds": request.seconds},
    }
    return verbose | ({"words": _words(request, text)} if request.words else {})


def stream(request: TranscriptionRequest, text: str) -> Iterator[dict[str, Any]]:
    """The events of a streamed transcription."""
    for index, word in enumerate(text.split(" ") if text else []):
        yield {"type": "transcript.text.delta", "delta": word if index == 0 else f" {word}"}
    usage = {key: value for key, value in _usage(request, text).items() if key != "seconds"}
    yield {"type": "transcript.text.done", "text": text, "usage": usage}


def _usage(request: TranscriptionRequest, text: str) -> dict[str, Any]:
    if request.model.startswith("whisper") and not request.stream:
        return {"type": "duration", "seconds": request.seconds}
    heard, said = round(request.seconds * 10), len(text.split())
    return {
        "type": "tokens",
        "input_tokens": heard,
        "input_token_details": {"text_tokens": 0, "audio_tokens": heard},
        "output_tokens": said,
        "total_tokens": heard + said,
    }


def _words(request: TranscriptionRequest, text: str) -> list[dict[str, Any]]:
    words = text.split()
    each = request.seconds / max(1, len(words))
    return [{"word": w, "start": round(i * each, 3), "end": round((i + 1) * each, 3)} for i, w in enumerate(words)]


def _stamp(seconds: float, point: str) -> str:
    whole_ms = round(seconds * 1000)
    hours, rest = divmod(whole_ms, 3_600_000)
    minutes, rest = divmod(rest, 60_000)
    return f"{hours:02d}:{minutes:02d}:{rest // 1000:02d}{point}{rest % 1000:03d}"
