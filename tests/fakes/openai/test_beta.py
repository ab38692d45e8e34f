import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.beta.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from leakline.fakes import audio
from leakline.fakes.openai.beta import BetaSession
from leakline.fakes.openai.realtime import RealtimeSession
from leakline.fakes.openai.script import FunctionCall, ModelScript, Turn

SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
SCRIPT = ModelScript(
    turns=(Turn("Hello there.", seconds=0.3), Turn("Done.", seconds=0.2, calls=(FunctionCall("pay", cash=True),))),
    hears=("Hi.",),
)


class Client:
    def __init__(self) -> None:
        self.session = BetaSession(RealtimeSession(SCRIPT, model="gpt-4o-realtime-preview"))
        self.seen = self.check(self.session.start())
        self.now = 0.0

    def check(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for event in events:
            SERVER_EVENT.validate_json(json.dumps(event), strict=True)
        return events

    def send(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        return self.check(self.session.receive(json.dumps({"type": kind, **fields}), self.now))

    def wait(self) -> list[dict[str, Any]]:
        self.now += 10
        return self.check(self.session.advance(self.now))


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def test_a_beta_session_is_flat() -> None:
    client = Client()
    assert kinds(client.seen) == ["session.created", "conversation.created"]
    (updated,) = client.send(
        "session.update",
        session={
            "modalities": ["text", "audio"],
            "input_audio_format": "g711_ulaw",
            "output_audio_format": "g711_alaw",
            "voice": "sage",
            "temperature": 0.7,
            "turn_detection": {"type": "server_vad", "silence_duration_ms": 200},
            "input_audio_transcription": {"model": "whisper-1"},
            "max_response_output_tokens": 500,
        },
    )
    session = updated["session"]
    assert (session["input_audio_format"], session["output_audio_format"]) == ("g711_ulaw", "g711_alaw")
    assert (session["voice"], session["temperature"], session["max_response_output_tokens"]) == ("sage", 0.7, 500)
    assert session["turn_detection"]["silence_duration_ms"] == 200


def test_a_whole_turn_has_the_old_names() -> None:
    client = Client()
    client.send(
        "session.update",
        session={"input_audio_format": "g711_ulaw", "input_audio_transcription": {"model": "whisper-1"}},
    )
    heard = []
    sound = audio.speech(0.4) + audio.SILENCE_FRAME * 26
    for at in range(0, len(sound), 160):
        payload = base64.b64encode(sound[at : at + 160]).decode()
        heard += client.send("input_audio_buffer.append", audio=payload)
    assert kinds(heard) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.created",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "rate_limits.updated",
    ]
    said = client.wait()
    assert "response.audio.delta" in kinds(said)
    assert "response.audio_transcript.delta" in kinds(said)
    assert not [kind for kind in kinds(said) if "output_audio" in kind or kind == "conversation.item.done"]
    body = said[-1]["response"]
    assert body["modalities"] == ["audio", "text"]
    assert body["output"][0]["content"][0]["type"] == "audio"


def test_text_and_function_calls_have_the_old_names() -> None:
    client = Client()
    client.send("response.create", response={"modalities": ["text"]})
    said = client.wait()
    assert "response.text.delta" in kinds(said)
    assert said[-1]["response"]["modalities"] == ["text"]
    client.send("response.create")
    said = client.wait()
    assert [i["type"] for i in said[-1]["response"]["output"]] == ["message", "function_call"]


@pytest.mark.parametrize(
    ("session", "param"),
    [
        ({"type": "realtime"}, "session.type"),  # a GA client on a beta connection
        ({"input_audio_format": "mp3"}, "session.input_audio_format"),
        ({"temperature": 3}, "session.temperature"),
        ({"turn_detection": {"type": "no"}}, "session.audio.input.turn_detection.type"),
    ],
)
def test_mistakes_name_the_parameter(session: dict[str, Any], param: str) -> None:
    (error,) = Client().send("session.update", session=session, event_id="mine")
    assert (error["type"], error["error"]["param"], error["error"]["event_id"]) == ("error", param, "mine")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
_SESSION = st.dictionaries(
    st.sampled_from(["modalities", "voice", "input_audio_format", "temperature", "turn_detection", "tools", "model"]),
    _JSON,
    max_size=4,
)
_ITEM = st.fixed_dictionaries({"type": st.just("message")}, optional={"content": _JSON, "role": _JSON, "id": _JSON})


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_SESSION | _JSON, max_size=3), st.lists(_ITEM | _JSON, max_size=3))
def test_no_message_breaks_a_beta_session(sessions: list[Any], items: list[Any]) -> None:
    machine = BetaSession(RealtimeSession(SCRIPT, model="m"))
    messages = [{"type": "session.update", "session": session} for session in sessions]
    messages += [{"type": "conversation.item.create", "item": item} for item in items]
    messages += [{"type": "response.create", "response": item} for item in items]
    for message in messages:
        json.dumps(machine.receive(json.dumps(message), 0.0))
    json.dumps(machine.advance(100.0))


def test_what_is_no_event_is_an_error() -> None:
    client = Client()
    assert kinds(client.check(client.session.receive("{", 0.0))) == ["error"]
    assert kinds(client.send("session.update", session=None)) == ["error"]
