import json
from pathlib import Path
from typing import Any

import pytest

from leakline.scenarios import (
    BUILT_IN,
    Agent,
    Browser,
    Drop,
    FunctionCall,
    HangUp,
    Listen,
    Network,
    Pause,
    Press,
    Say,
    Scenario,
    ScenarioError,
    Send,
    load,
)


def test_one_list_scripts_both_ends_of_the_call() -> None:
    scenario = Scenario(
        "order",
        Agent("Welcome.", seconds=2.0),
        Listen(),
        Say("Two burgers.", seconds=1.4),
        Agent("Anything else?", calls=[FunctionCall("add_to_cart", item="burger")]),
        Listen(),
    )
    script = scenario.model_script
    assert [turn.transcript for turn in script.turns] == ["Welcome.", "Anything else?"]
    assert script.turns[1].calls[0].arguments_json == '{"item": "burger"}'
    assert script.hears == ("Two burgers.",)
    assert scenario.steps[-1] == HangUp()
    assert scenario.seconds == pytest.approx(4.4)


def test_a_scenario_is_data() -> None:
    for scenario in BUILT_IN.values():
        data = json.loads(json.dumps(scenario.to_json()))
        assert data["name"] == scenario.name
        assert len(data["steps"]) == len(scenario.steps)
    calls = BUILT_IN["two_burgers"].to_json()["steps"][3]["calls"]
    assert calls == [{"name": "add_to_cart", "arguments": {"item": "burger", "quantity": 2}}]


@pytest.mark.parametrize(
    ("steps", "problem"),
    [
        ((HangUp(), Say("Hello")), "step 1: HangUp must be the last step"),
        ((Drop(), Pause(1.0)), "step 1: Drop must be the last step"),
        ((Say("Hello", seconds=0.0),), "Say.seconds: expected a number above 0"),
        ((Say("Hello", seconds=float("nan")),), "Say.seconds"),
        ((Pause(True),), "Pause.seconds"),
        ((Listen(seconds=601.0),), "up to 600"),
        (("hello",), "expected a step"),
        ((Press("5x"),), "Press.digits: expected keys of 0123456789"),
        ((Press(""),), "Press.digits"),
    ],
)
def test_a_script_that_cannot_be_played_names_the_step(steps: tuple[Any, ...], problem: str) -> None:
    with pytest.raises(ScenarioError, match=problem):
        Scenario("wrong", *steps)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"network": Network(jitter_s=9.0)}, "network.jitter_s: expected 0 to 5, found 9.0"),
        ({"network": Network(loss=float("nan"))}, "network.loss: expected 0 to 1, found nan"),
        ({"network": Network(), "browser": Browser("/v")}, "expected a network or a browser, found both"),
        ({"browser": Browser("voice")}, "browser.path: expected such as '/voice', found 'voice'"),
        (
            {"browser": Browser("/v", audio="{}")},
            "browser.audio: expected a text with {payload} in it once, found '{}'",
        ),
        ({"browser": Browser("/v", format="mp3")}, "browser.format: expected one of audio/pcm"),  # type: ignore[arg-type]
    ],
)
def test_who_calls_is_checked(fields: dict[str, Any], problem: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        Scenario("s", HangUp(), **fields)
    assert problem in str(caught.value)


def test_a_page_presses_no_keys_and_a_telephone_sends_no_messages() -> None:
    with pytest.raises(ScenarioError, match="step 1: Press is a step of a telephone's"):
        Scenario("s", Press("1"), browser=Browser("/voice"))
    with pytest.raises(ScenarioError, match="step 1: Send is a step of a browser's call"):
        Scenario("s", Send("start"))


def test_names_and_replies_are_checked() -> None:
    with pytest.raises(ScenarioError, match="name"):
        Scenario("../etc")
    with pytest.raises(ScenarioError, match="chat"):
        Scenario("mute", chat=())


def test_scenarios_are_found_by_name_and_in_files(tmp_path: Path) -> None:
    assert load("question") is BUILT_IN["question"]
    file = tmp_path / "mine.py"
    file.write_text("from leakline import Say, Scenario\nshort = Scenario('short', Say('Hi', seconds=0.2))\n")
    assert load(f"{file}:short").name == "short"
    with pytest.raises(ScenarioError, match="which has short"):
        load(f"{file}:long")
    with pytest.raises(ScenarioError, match="question, two_burgers"):
        load("nope")
    with pytest.raises(ScenarioError, match="no such file"):
        load("gone.py:x")
    file.write_text("1 / 0\n")
    with pytest.raises(ScenarioError, match="ZeroDivisionError"):
        load(f"{file}:short")


def test_a_scenario_says_how_the_fakes_fail_in_it() -> None:
    slow = Scenario("slow", HangUp(), faults=("latency(seconds=0.3)@realtime",))
    (rule,) = slow.fault_rules
    assert str(rule) == "latency@realtime/request"
    assert slow.stretched(2.0).faults == slow.faults
    with pytest.raises(ScenarioError, match="bad: faults: fault: expected NAME"):
        Scenario("bad", HangUp(), faults=("nonsense",))
    assert all(scenario.about for scenario in BUILT_IN.values())
