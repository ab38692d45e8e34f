import json

import pytest

from leakline.fakes.twilio import ConversationRelay, StreamIds

IDS = StreamIds.numbered(1)


def text(token: str, last: bool = True) -> str:
    return json.dumps({"type": "text", "token": token, "last": last})


def test_text_is_spoken_and_gathered_into_turns() -> None:
    relay = ConversationRelay(IDS)
    relay.receive(text("Two burgers, ", last=False), 1.0)
    relay.receive(text("please."), 1.1)
    assert relay.said == ["Two burgers, please."]
    assert relay.heard_s == pytest.approx(0.9)
    assert relay.playing_until == pytest.approx(1.9)


def test_the_greeting_is_spoken_first_and_can_be_spoken_over() -> None:
    relay = ConversationRelay(IDS, welcome_greeting="Welcome to the Grill")
    relay.open()
    assert relay.said == ["Welcome to the Grill"]
    assert relay.playing_until == pytest.approx(1.2)
    interrupt, _ = (json.loads(message) for message in relay.prompt("Two burgers.", 0.65))
    assert interrupt["utteranceUntilInterrupt"] == "Welcome to"


def test_speaking_over_the_agent_interrupts_it() -> None:
    relay = ConversationRelay(IDS)
    relay.receive(text("one two three four"), 0.0)
    interrupt, prompt = (json.loads(message) for message in relay.prompt("Stop.", 0.65))
    assert interrupt == {
        "type": "interrupt",
        "utteranceUntilInterrupt": "one two",
        "durationUntilInterruptMs": "650",
    }
    assert prompt["voicePrompt"] == "Stop."
    assert len(relay.prompt("Again.", 5.0)) == 1


def test_the_server_can_end_it_and_play_and_press() -> None:
    relay = ConversationRelay(IDS)
    for message in ({"type": "play", "source": "x"}, {"type": "sendDigits", "digits": "1"}, {"type": "language"}):
        assert relay.receive(json.dumps(message), 0.0) == []
    assert relay.playing_until == 1.0
    relay.receive(json.dumps({"type": "end", "handoffData": {"a": 1}}), 0.0)
    assert relay.ended == '{"a": 1}'
    assert json.loads(relay.dtmf("5")) == {"type": "dtmf", "digit": "5"}


@pytest.mark.parametrize("message", ["{", "[]", '{"type": "sing"}', '{"type": "text"}'])
def test_a_wrong_message_is_answered_with_an_error(message: str) -> None:
    relay = ConversationRelay(IDS)
    (error,) = relay.receive(message, 0.0)
    assert json.loads(error)["type"] == "error"
    assert len(relay.problems) == 1
