import base64
import json
from typing import Any

from fakes.audio import FRAME_S, decode, tag_in
from fakes.twilio import StreamIds
from harness.call import PATIENCE_S, ScriptedCall
from scenarios import Agent, Drop, HangUp, Listen, Pause, Press, Say, Scenario

IDS = StreamIds.numbered(1)


def play(scenario: Scenario, hears: dict[float, float], speed: float = 1.0, limit_s: float = 60.0) -> Any:
    """Play a call in which the server sends audio: {when: seconds of it}. Returns the call and what it sent."""
    call = ScriptedCall(scenario, IDS, speed=speed)
    sent = [(0.0, json.loads(text)) for text in call.begin()]
    now, due = 0.0, sorted(hears)
    while call.goodbye is None and now < limit_s:
        sent += [(now, json.loads(text)) for text in call.tick(now)]
        now += FRAME_S
        while due and due[0] <= now:
            payload = base64.b64encode(b"\x00" * round(8000 * hears[due.pop(0)])).decode()
            media = {"event": "media", "streamSid": IDS.stream_sid, "media": {"payload": payload}}
            call.receive(json.dumps(media), now)
    return call, sent, now


def test_a_caller_says_its_words_frame_by_frame_and_hangs_up() -> None:
    call, sent, now = play(Scenario("s", Say("Hello", seconds=0.4), HangUp()), {})
    events = [message["event"] for _, message in sent]
    assert events == ["connected", "start", *["media"] * 20, "stop"]
    assert call.goodbye == "stop"
    assert call.finished
    assert abs(now - 0.42) < 0.001


def test_listening_ends_when_the_agents_words_have_played() -> None:
    scenario = Scenario("s", Agent("Hello", seconds=1.0), Listen(), HangUp())
    call, _, now = play(scenario, {0.5: 0.6, 0.7: 0.4})
    assert call.finished
    assert 1.5 <= now <= 1.56


def test_listening_ends_by_quiet_when_less_comes_than_the_script_has() -> None:
    scenario = Scenario("s", Agent("Hello", seconds=5.0), Listen(), HangUp())
    call, _, now = play(scenario, {0.5: 1.0})
    assert call.finished
    assert 2.4 <= now <= 2.6


def test_listening_to_a_part_of_it_goes_on_at_once() -> None:
    scenario = Scenario("s", Agent("Hello", seconds=5.0), Listen(seconds=0.4), Drop())
    call, sent, now = play(scenario, {0.5: 5.0})
    assert call.goodbye == "reset"
    assert 0.9 <= now <= 0.96
    assert sent[-1][1]["event"] == "media"  # nobody says stop


def test_a_silent_agent_is_a_failure_after_the_callers_patience() -> None:
    scenario = Scenario("s", Agent("Hello"), Listen(), HangUp())
    call, _, now = play(scenario, {})
    assert call.failure == "heard nothing in step 2 (Listen)"
    assert not call.finished
    assert abs(now - PATIENCE_S) < 0.1
    _, _, fast = play(scenario, {}, speed=4.0)
    assert abs(fast - 4 * PATIENCE_S) < 0.1  # patience is kept in real time too


def test_pauses_are_silence_and_take_their_time() -> None:
    _, sent, now = play(Scenario("s", Pause(0.5), HangUp()), {})
    payloads = {base64.b64decode(m["media"]["payload"]) for _, m in sent if m["event"] == "media"}
    (payload,) = payloads
    assert not decode(payload, "audio/pcmu").any()
    assert tag_in(payload) == 1
    assert abs(now - 0.52) < 0.03


def test_keys_are_pressed_one_a_frame() -> None:
    _, sent, _ = play(Scenario("s", Press("4#"), HangUp()), {})
    assert [m["dtmf"]["digit"] for _, m in sent if m["event"] == "dtmf"] == ["4", "#"]


def test_marks_come_back_and_wrong_messages_are_noted() -> None:
    call = ScriptedCall(Scenario("s", Pause(1.0)), IDS)
    call.begin()
    call.receive(json.dumps({"event": "mark", "streamSid": IDS.stream_sid, "mark": {"name": "m"}}), 0.0)
    events = [json.loads(text)["event"] for text in call.tick(0.0)]
    assert events == ["mark", "media"]
    assert call.receive("nonsense", 0.1) == []
    assert "JSON" in call.problems[0]


def test_a_server_that_ends_the_call_fails_it_unless_the_script_was_done() -> None:
    call = ScriptedCall(Scenario("s", Say("Hello", seconds=1.0)), IDS)
    call.tick(0.0)
    call.ended_by_server("closed 1011")
    assert call.failure == "the server closed 1011 during step 1 (Say)"
    done, _, _ = play(Scenario("s", Say("Hello", seconds=0.1)), {})
    done.ended_by_server("closed 1000")
    assert done.failure == ""
