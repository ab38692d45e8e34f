import base64
import json
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.realtime import RealtimeServerEvent
from pydantic import TypeAdapter

from leakline.fakes import audio
from leakline.fakes.openai.realtime import RealtimeSession
from leakline.fakes.openai.script import FunctionCall, ModelScript, Turn

SCRIPT = ModelScript(
    turns=(
        Turn("We are open until ten.", seconds=0.5),
        Turn("Two burgers.", seconds=0.3, calls=(FunctionCall("add_to_cart", item="burger", quantity=2),)),
    ),
    hears=("Are you open?",),
)
SERVER_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


class Client:
    """Drives a session and checks every event against the SDK's own types."""

    def __init__(self, script: ModelScript = SCRIPT) -> None:
        self.session = RealtimeSession(script, model="gpt-realtime")
        self.now = 0.0
        self.seen = self.check(self.session.start())

    def check(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for event in events:
            SERVER_EVENT.validate_json(json.dumps(event), strict=True)
        return events

    def send(self, kind: str, **fields: Any) -> list[dict[str, Any]]:
        return self.check(self.session.receive(json.dumps({"type": kind, **fields}), self.now))

    def speak(self, *sounds: bytes) -> list[dict[str, Any]]:
        events = []
        sound = b"".join(sounds)
        for start in range(0, len(sound), 160):
            payload = base64.b64encode(sound[start : start + 160]).decode()
            events += self.send("input_audio_buffer.append", audio=payload)
        return events

    def wait(self, seconds: float = 10.0) -> list[dict[str, Any]]:
        self.now += seconds
        return self.check(self.session.advance(self.now))

    def use_phone_audio(self, **input_settings: Any) -> list[dict[str, Any]]:
        settings = {
            "input": {"format": {"type": "audio/pcmu"}, **input_settings},
            "output": {"format": {"type": "audio/pcmu"}},
        }
        return self.send("session.update", session={"type": "realtime", "audio": settings})


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"] for event in events]


def error_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    assert kinds(events) == ["error"]
    details: dict[str, Any] = events[0]["error"]
    return details


def test_a_session_greets_with_its_configuration() -> None:
    client = Client()
    assert kinds(client.seen) == ["session.created"]
    assert client.seen[0]["session"]["model"] == "gpt-realtime"


def test_a_whole_server_vad_turn_has_the_events_of_the_service_in_order() -> None:
    client = Client()
    client.use_phone_audio(transcription={"model": "whisper-1"})
    heard = client.speak(audio.speech(0.6), audio.SILENCE_FRAME * 30)
    assert kinds(heard) == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "conversation.item.input_audio_transcription.delta",
        "conversation.item.input_audio_transcription.completed",
        "response.created",
        "rate_limits.updated",
    ]
    assert heard[6]["transcript"] == "Are you open?"
    said = client.wait()
    deltas = ("response.output_audio.delta", "response.output_audio_transcript.delta")
    assert [kind for kind in kinds(said) if kind not in deltas] == [
        "response.output_item.added",
        "conversation.item.added",
        "response.content_part.added",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "conversation.item.done",
        "response.output_item.done",
        "response.done",
    ]
    sound = b"".join(base64.b64decode(e["delta"]) for e in said if e["type"] == deltas[0])
    assert audio.seconds_of(sound, "audio/pcmu") == pytest.approx(0.5)
    assert "".join(e["delta"] for e in said if e["type"] == deltas[1]) == "We are open until ten."
    assert said[-1]["response"]["status"] == "completed"
    assert said[-1]["response"]["output"][0]["content"][0]["transcript"] == "We are open until ten."


def test_audio_comes_at_the_scripts_pace_and_after_its_first_byte() -> None:
    client = Client(ModelScript(turns=(Turn("Hello there.", seconds=1.0),), first_byte_s=0.2, pace=2.0, chunk_s=0.1))
    client.use_phone_audio()
    client.send("response.create")
    assert client.wait(0.19) == []
    spoken = 0
    for _ in range(3):
        spoken += kinds(client.wait(0.1)).count("response.output_audio.delta")
    assert spoken == 6  # 0.29 s after the first byte, a delta of 0.1 s each 0.05 s
    assert client.session.wake_at == pytest.approx(0.5)


def test_speech_interrupts_the_response_under_way() -> None:
    client = Client()
    client.use_phone_audio()
    client.send("response.create")
    client.wait(0.25)
    events = client.speak(audio.speech(0.2))
    assert kinds(events)[0] == "input_audio_buffer.speech_started"
    done = events[-1]
    assert done["type"] == "response.done"
    assert done["response"]["status"] == "cancelled"
    assert done["response"]["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
    assert done["response"]["output"][0]["status"] == "incomplete"
    assert client.wait() == []


def test_a_response_that_may_not_be_interrupted_goes_on() -> None:
    client = Client()
    client.use_phone_audio(turn_detection={"type": "server_vad", "interrupt_response": False})
    client.send("response.create")
    client.wait(0.25)
    assert kinds(client.speak(audio.speech(0.2))) == ["input_audio_buffer.speech_started"]
    assert kinds(client.wait())[-1] == "response.done"


def test_function_calls_follow_what_is_said() -> None:
    client = Client()
    client.send("response.create")
    client.wait()
    client.send("response.create")
    said = client.wait()
    (call,) = [e for e in said if e["type"] == "response.function_call_arguments.done"]
    assert call["name"] == "add_to_cart"
    assert json.loads(call["arguments"]) == {"item": "burger", "quantity": 2}
    assert [item["type"] for item in said[-1]["response"]["output"]] == ["message", "function_call"]
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "{}"}
    assert kinds(client.send("conversation.item.create", item=output)) == [
        "conversation.item.added",
        "conversation.item.done",
    ]


def test_a_script_that_is_spent_still_answers() -> None:
    client = Client(ModelScript())
    client.send("response.create")
    assert client.wait()[-1]["response"]["status"] == "completed"


def test_text_sessions_get_text() -> None:
    client = Client()
    client.send("response.create", response={"output_modalities": ["text"], "conversation": "none"})
    said = client.wait()
    assert "".join(e["delta"] for e in said if e["type"] == "response.output_text.delta") == "We are open until ten."
    assert "conversation.item.added" not in kinds(said)


def test_manual_turns_commit_without_a_response() -> None:
    client = Client()
    client.use_phone_audio(turn_detection=None)
    assert client.speak(audio.speech(0.6)) == []
    assert kinds(client.send("input_audio_buffer.commit"))[0] == "input_audio_buffer.committed"
    assert error_of(client.send("input_audio_buffer.commit"))["code"] == "input_audio_buffer_commit_empty"
    assert kinds(client.send("input_audio_buffer.clear")) == ["input_audio_buffer.cleared"]


def test_a_transcription_can_fail_and_the_turn_goes_on() -> None:
    client = Client(ModelScript(hears=(None,)))
    client.use_phone_audio(transcription={"model": "whisper-1"})
    heard = client.speak(audio.speech(0.6), audio.SILENCE_FRAME * 30)
    (failed,) = [e for e in heard if e["type"].endswith("transcription.failed")]
    assert failed["error"]["code"] == "audio_unintelligible"
    assert client.wait()[-1]["response"]["status"] == "completed"


def test_a_caller_who_says_nothing_is_spoken_to() -> None:
    client = Client()
    client.use_phone_audio(turn_detection={"type": "server_vad", "idle_timeout_ms": 1000})
    assert client.speak(audio.SILENCE_FRAME * 49) == []
    events = client.speak(audio.SILENCE_FRAME)
    assert kinds(events)[0] == "input_audio_buffer.timeout_triggered"
    assert (events[0]["audio_start_ms"], events[0]["audio_end_ms"]) == (0, 1000)
    assert "response.created" in kinds(events)
    assert client.speak(audio.SILENCE_FRAME * 10) == []  # while the model speaks nobody is idle


def test_a_transcription_session_writes_down_and_never_answers() -> None:
    client = Client()
    heard = {"format": {"type": "audio/pcmu"}, "transcription": {"model": "gpt-4o-transcribe"}}
    (updated,) = client.send("session.update", session={"type": "transcription", "audio": {"input": heard}})
    assert updated["session"]["object"] == "realtime.transcription_session"
    events = client.speak(audio.speech(0.6), audio.SILENCE_FRAME * 30)
    assert kinds(events)[-1] == "conversation.item.input_audio_transcription.completed"
    assert client.wait() == []
    assert error_of(client.send("response.create"))["code"] == "invalid_value"
    assert error_of(client.send("session.update", session={"type": "realtime"}))["param"] == "session.type"
    unknown = client.send("session.update", session={"type": "transcription", "voice": "ash"})
    assert error_of(unknown)["param"] == "session.voice"


OUT_OF_SCOPE = {
    "conversation.created": "sent in the beta dialect alone (test_beta.py)",
    "conversation.item.created": "sent in the beta dialect alone (test_beta.py)",
    "conversation.item.input_audio_transcription.segment": "of diarising models in transcription sessions",
    "input_audio_buffer.dtmf_event_received": "SIP only",
    "output_audio_buffer.started": "WebRTC and SIP only",
    "output_audio_buffer.stopped": "WebRTC and SIP only",
    "output_audio_buffer.cleared": "WebRTC and SIP only",
    "mcp_list_tools.in_progress": "the service calls MCP servers; the fake has none to call",
    "mcp_list_tools.completed": "as above",
    "mcp_list_tools.failed": "as above",
    "response.mcp_call_arguments.delta": "as above",
    "response.mcp_call_arguments.done": "as above",
    "response.mcp_call.in_progress": "as above",
    "response.mcp_call.completed": "as above",
    "response.mcp_call.failed": "as above",
}


def test_every_event_of_the_sdk_is_sent_here_or_said_to_be_out_of_scope() -> None:
    union, *_ = get_args(RealtimeServerEvent)
    every = {get_args(event.model_fields["type"].annotation)[0] for event in get_args(union)}
    sent: set[str] = set()
    check = Client.check

    def remember(self: Client, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        sent.update(kinds(events))
        return check(self, events)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, "check", remember)
        test_a_whole_server_vad_turn_has_the_events_of_the_service_in_order()
        test_function_calls_follow_what_is_said()
        test_text_sessions_get_text()
        test_manual_turns_commit_without_a_response()
        test_items_can_be_placed_read_truncated_and_deleted()
        test_a_transcription_can_fail_and_the_turn_goes_on()
        test_a_caller_who_says_nothing_is_spoken_to()
    assert sent | OUT_OF_SCOPE.keys() == every
    assert not sent & OUT_OF_SCOPE.keys()


def test_items_can_be_placed_read_truncated_and_deleted() -> None:
    client = Client()
    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello"}]}
    first = client.send("conversation.item.create", item={**message, "id": "item_a"})
    assert first[0]["previous_item_id"] is None
    second = client.send("conversation.item.create", item={**message, "id": "item_b"})
    assert second[0]["previous_item_id"] == "item_a"
    between = client.send("conversation.item.create", previous_item_id="item_a", item={**message, "id": "item_c"})
    assert between[0]["previous_item_id"] == "item_a"
    front = client.send("conversation.item.create", previous_item_id="root", item={**message, "id": "item_d"})
    assert front[0]["previous_item_id"] is None
    (got,) = client.send("conversation.item.retrieve", item_id="item_c")
    assert got["item"]["content"][0]["text"] == "Hello"
    assert error_of(client.send("conversation.item.truncate", item_id="item_c", audio_end_ms=1))
    assert kinds(client.send("conversation.item.delete", item_id="item_c")) == ["conversation.item.deleted"]
    assert error_of(client.send("conversation.item.delete", item_id="item_c"))["code"] == "item_not_found"
    assert error_of(client.send("conversation.item.create", item=message, previous_item_id="no"))
    client.send("response.create")
    said = client.wait()
    item_id = said[-1]["response"]["output"][0]["id"]
    (cut,) = client.send("conversation.item.truncate", item_id=item_id, content_index=0, audio_end_ms=120)
    assert (cut["item_id"], cut["audio_end_ms"]) == (item_id, 120)


def test_only_one_response_at_a_time_and_cancelling_needs_one() -> None:
    client = Client()
    assert error_of(client.send("response.cancel"))["code"] == "response_cancel_not_active"
    client.send("response.create")
    busy = error_of(client.send("response.create", event_id="mine"))
    assert busy["code"] == "conversation_already_has_active_response"
    assert busy["event_id"] == "mine"
    (done,) = client.send("response.cancel")
    assert done["response"]["status_details"]["reason"] == "client_cancelled"


@pytest.mark.parametrize(
    ("session", "param"),
    [
        (None, "session"),
        ({}, "session.type"),
        ({"type": "translation"}, "session.type"),
        ({"type": "realtime", "colour": "red"}, "session.colour"),
        ({"type": "realtime", "audio": {"input": {"format": {"type": "mp3"}}}}, "session.audio.input.format"),
        ({"type": "realtime", "audio": None}, "session.audio.input.format"),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 7}}}},
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "psychic"}}}},
            "session.audio.input.turn_detection.type",
        ),
    ],
)
def test_a_wrong_update_names_the_parameter_and_changes_nothing(session: Any, param: str) -> None:
    client = Client()
    assert error_of(client.send("session.update", session=session))["param"] == param
    (updated,) = client.send("session.update", session={"type": "realtime"})
    assert updated["session"] == client.seen[0]["session"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("{", "invalid_json"),
        ("[]", "invalid_type"),
        ("{}", "missing_required_parameter"),
        ('{"type": "dance"}', "invalid_value"),
        ('{"type": "input_audio_buffer.append"}', "missing_required_parameter"),
        ('{"type": "input_audio_buffer.append", "audio": "%%%"}', "invalid_value"),
        ('{"type": "conversation.item.create", "item": 1}', "invalid_value"),
        ('{"type": "response.create", "response": 1}', "invalid_type"),
        ("[" * 100_000, "invalid_json"),
    ],
)
def test_a_wrong_message_is_an_error_and_the_session_stays_open(message: str, code: str) -> None:
    client = Client()
    assert error_of(client.check(client.session.receive(message, 0.0)))["code"] == code
    assert kinds(client.send("response.create")) == ["response.created", "rate_limits.updated"]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
_KINDS = st.sampled_from(
    [
        "session.update",
        "input_audio_buffer.append",
        "input_audio_buffer.commit",
        "conversation.item.create",
        "conversation.item.truncate",
        "conversation.item.retrieve",
        "response.create",
        "response.cancel",
    ]
)
_FIELDS = st.dictionaries(
    st.sampled_from(
        ["session", "audio", "item", "item_id", "previous_item_id", "response", "response_id", "event_id"]
    ),
    _JSON,
    max_size=4,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(_KINDS, _FIELDS), max_size=8))
def test_no_message_breaks_a_session(messages: list[tuple[str, dict[str, Any]]]) -> None:
    session = RealtimeSession(SCRIPT, model="gpt-realtime")
    for kind, fields in messages:
        for event in session.receive(json.dumps({**fields, "type": kind}), 0.0):
            json.dumps(event)
    session.advance(100.0)
