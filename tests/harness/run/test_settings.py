from pathlib import Path
from typing import Any

import pytest

from leakline.harness.data.errors import UsageError
from leakline.harness.run.settings import SoakSettings, from_files, make

GOOD: dict[str, Any] = {"sut": "python server.py --port {port}", "url": "ws://127.0.0.1:{port}/media-stream"}


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"cycles": 0}, "cycles: expected a whole number from 1 to 1,000,000, found 0"),
        ({"cycles": 2.5}, "cycles: expected a whole number"),
        ({"cycles": True}, "cycles"),
        ({"cycles": "many"}, "cycles"),
        ({"speed": float("nan")}, "speed"),
        ({"warmup": -1}, "warmup"),
        ({"sut": "  "}, "sut: expected a command"),
        ({"sut": 5}, "sut: expected text"),
        ({"url": "ftp://127.0.0.1/x"}, "url: expected the server's voice webhook or its Media Streams WebSocket"),
        ({"url": "ws://"}, "url"),
        ({"url": "ws://host:notaport/"}, "url"),
        ({"env": {"A": 1}}, "env"),
        ({"faults": ("boom",)}, "fault: expected NAME"),
        ({"faults": "boom"}, "faults: expected a list"),
        ({"scenario": "nope"}, "scenario: expected one of question"),
    ],
)
def test_a_wrong_setting_names_the_field_the_value_and_what_was_expected(wrong: dict[str, Any], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        SoakSettings(**(GOOD | wrong))


def test_the_port_is_filled_in_everywhere() -> None:
    settings = SoakSettings(**GOOD, env={"PUBLIC": "http://x:{port}"}).with_port(5050)
    assert settings.sut == "python server.py --port 5050"
    assert settings.address == ("127.0.0.1", 5050)
    assert settings.env == {"PUBLIC": "http://x:5050"}
    assert SoakSettings(sut="x", url="wss://host/x").address == ("host", 443)


def test_settings_come_from_the_project_and_a_flag_beats_them(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(
        "[tool.leakline]\nsut = 'run'\nurl = 'ws://127.0.0.1:1/'\ncycles = 40\ncode = ['src']\n"
        "faults = ['reset@realtime']\n"
    )
    settings = make({"cycles": 80, "speed": None}, tmp_path)
    assert (settings.sut, settings.cycles, settings.code) == ("run", 80, ("src",))
    assert [rule.on for rule in settings.fault_rules()] == ["realtime"]
    (tmp_path / "leakline.toml").write_text("sut = 'other'\nurl = 'ws://127.0.0.1:2/'\n")
    assert make({}, tmp_path).sut == "other"


def test_mistakes_in_a_file_name_the_file_and_the_key(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="sut: not given"):
        make({}, tmp_path)
    file = tmp_path / "leakline.toml"
    file.write_text("cycels = 3\n")
    with pytest.raises(UsageError, match=r"leakline\.toml: cycels: no such setting; expected one of sut, url"):
        from_files(tmp_path)
    file.write_text("= 3\n")
    with pytest.raises(UsageError, match="cannot be read as TOML"):
        from_files(tmp_path)
    file.unlink()
    (tmp_path / "pyproject.toml").write_text("[tool]\nleakline = 3\n")
    with pytest.raises(UsageError, match="expected a table"):
        from_files(tmp_path)
