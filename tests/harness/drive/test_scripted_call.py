import base64
import itertools
import json
from collections import Counter
from typing import Any

import pytest

from leakline.fakes.audio import FRAME_S, decode, speech, tag_in
from leakline.fakes.twilio import StreamIds
from leakline.harness.drive.scripted_call import PATIENCE_S, ScriptedCall
from leakline.harness.drive.uplink import Uplink
from leakline.scenarios import Agent, Browser, Drop, HangUp, Listen, Network, Pause, Press, Say, Scenario, Send

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


def test_a_network_holds_messages_back_and_loses_frames_but_never_their_order() -> None:
    network = Network(jitter_s=0.3, loss=0.2)
    call, sent, _ = play(Scenario("s", Say("Hello", seconds=8.0), HangUp(), network=network), {})
    _, again, _ = play(Scenario("s", Say("Hello", seconds=8.0), HangUp(), network=network), {})
    assert sent == again  # the same number meets with the same
    numbers = [int(message["sequenceNumber"]) for _, message in sent if "sequenceNumber" in message]
    assert numbers == list(range(1, len(numbers) + 1))
    media = [(at, message["media"]) for at, message in sent if message["event"] == "media"]
    assert 400 * 0.7 < len(media) < 400 * 0.9
    assert [int(m["chunk"]) for _, m in media] == list(range(1, len(media) + 1))
    gaps = [int(b["timestamp"]) - int(a["timestamp"]) for (_, a), (_, b) in itertools.pairwise(media)]
    assert set(gaps) >= {20, 40}
    together = Counter(at for at, _ in media)
    assert 3 < max(together.values()) <= 16
    assert sent[-1][1]["event"] == "stop"
    assert call.finished


def test_an_answer_does_not_overtake_what_the_network_holds_back() -> None:
    held = Uplink(Network(jitter_s=5.0), 3)
    now = 0.0
    while held.frame(now, [f"{now:.2f}"]):
        now += FRAME_S
    assert held.answer(["mark"]) == []
    assert held.flush() == [f"{now:.2f}", "mark"]
    assert Uplink(Network(), 3).answer(["mark"]) == ["mark"]


@pytest.mark.parametrize("audio", ["", '{"type":"audio","data":"{payload}"}'])
def test_a_browser_says_what_its_page_says(audio: str) -> None:
    browser = Browser("/voice", audio=audio, format="audio/pcm")
    steps = (Send("start"), Say("Hello", seconds=0.1), Send("stop"), Listen(), HangUp())
    call = ScriptedCall(Scenario("s", *steps, browser=browser), IDS)
    sent = [*call.begin()]
    for frame in range(200):
        sent += call.tick(frame * FRAME_S)
        if frame == 20:
            call.receive(b'{"type": "reply"}', frame * FRAME_S)
            call.receive(b"RIFF" + bytes(24) + (16_000).to_bytes(4, "little") + bytes(12 + 16_000), frame * FRAME_S)
    frames = sent[1:6]
    payloads = (
        [json.loads(f)["data"] for f in frames]
        if audio
        else [base64.b64encode(f).decode() for f in frames if isinstance(f, bytes)]
    )
    assert sent[0] == "start"
    assert sent[6:] == ["stop"]
    assert b"".join(map(base64.b64decode, payloads)) == speech(0.1, "audio/pcm")
    assert call.finished
    assert 1.0 < call.stream.heard_s < 1.05


def test_a_call_that_may_be_refused_goes_as_scripted_then_too() -> None:
    for refusable in (False, True):
        call = ScriptedCall(Scenario("s", Say("Hello"), HangUp(), refusable=refusable), IDS)
        call.refused("HTTP 503")
        call.ended_by_server("closed 1013")
        assert (call.failure == "") is refusable
