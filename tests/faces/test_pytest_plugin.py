"""The plugin in a real pytest run, against a real server."""

import json
import sys
from pathlib import Path

import pytest

BRIDGE = Path(__file__).parents[1] / "suts" / "bridge.py"


def configure(pytester: pytest.Pytester, leak: str) -> None:
    pytester.makepyprojecttoml(
        f"""
        [tool.leakline]
        sut = '{sys.executable} {BRIDGE} {{port}} {leak}'
        url = 'ws://127.0.0.1:{{port}}/'
        scenario = 'voicemail'
        warmup = 8
        concurrency = 4
        settle = 0.5
        """
    )


def test_a_leak_fails_the_test_with_the_finding_as_its_message(pytester: pytest.Pytester) -> None:
    configure(pytester, "task")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.soak(cycles=40)
        def test_leaves_nothing_behind(soak):
            soak("voicemail")
        """
    )
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(
        [
            "*leakline: leaking*",
            "*LEAKING  tasks  +1.00 a call (exact, 40 calls)*bridge.py:*leak_one*",
            "*KEPT.append(asyncio.create_task(forget_nothing()))*",
        ]
    )
    done.stdout.no_fnmatch_line("*Traceback*")


def test_a_clean_server_passes_with_a_scenario_of_the_tests_own(pytester: pytest.Pytester) -> None:
    configure(pytester, "none")
    pytester.makepyfile(
        """
        from leakline.scenarios import Agent, HangUp, Listen, Say, Scenario

        short = Scenario("short", Say("Hi", seconds=0.2), Agent("Hello", seconds=0.2), Listen(), HangUp())

        def test_is_clean(soak):
            result = soak(short, cycles=32)
            assert result.scenario == "short"
            assert result.calls.failed == 0
        """
    )
    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_wrong_settings_fail_with_one_line(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_it(soak):\n    soak(cycles=0, sut='true', url='ws://x/')\n")
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*leakline: cycles: expected a whole number from 1*"])


def test_a_project_with_rooms_of_its_own_by_our_names_soaks_in_pytest(pytester: pytest.Pytester) -> None:
    configure(pytester, "none")
    for name in ("fakes", "harness", "reports", "restaurant", "scenarios"):
        pytester.mkpydir(name)
    pytester.makepyfile(
        """
        import scenarios

        def test_it(soak):
            assert not hasattr(scenarios, "BUILT_IN")
            soak(cycles=24)
        """
    )
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-o", "pythonpath=.")
    done.assert_outcomes(passed=1)


def test_the_fakes_serve_a_test_of_an_sdk_user_and_of_a_server(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        f"""
        import os
        import socket
        import subprocess
        import sys
        import time

        import openai
        import pytest

        ASK = [{{"role": "user", "content": "Hi"}}]

        @pytest.mark.fakes(faults=["status(code=503)@chat.completions x1"])
        def test_a_client_that_retries(fake_openai):
            client = openai.OpenAI(api_key="k", base_url=fake_openai.base_url, max_retries=1)
            with client:
                assert client.chat.completions.create(model="m", messages=ASK).choices[0].message.content == "OK."
            assert [c.ending for c in fake_openai.ledger().ended("chat.completions")] == ["503", "200"]

        def test_a_server_answers_a_call(fake_openai, fake_twilio):
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            environment = {{**os.environ, **fake_openai.environment}}
            server = subprocess.Popen([sys.executable, {str(BRIDGE)!r}, str(port), "none"], env=environment)
            try:
                for _ in range(200):
                    with socket.socket() as probe:
                        if probe.connect_ex(("127.0.0.1", port)) == 0:
                            break
                    time.sleep(0.05)
                placed = fake_twilio.call(f"ws://127.0.0.1:{{port}}/", "question")
            finally:
                server.kill()
                server.wait()
            assert placed.failure == ""
            assert placed.heard_s > 0.5
            for _ in range(100):  # the fake may learn of its end a moment later
                if fake_openai.ledger().ended("realtime"):
                    break
                time.sleep(0.05)
            (session,) = fake_openai.ledger().ended("realtime")
            assert session.call.startswith("CA")
            assert session.received_bytes > 1000

        @pytest.mark.fakes(faults=["nonsense"])
        def test_a_wrong_rule(fake_openai):
            pass
        """
    )
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    done.assert_outcomes(passed=2, errors=1)
    done.stdout.fnmatch_lines(["*FaultError: fault: expected NAME*"])


def test_a_marker_alone_gives_scenario_cycles_and_budget(pytester: pytest.Pytester) -> None:
    configure(pytester, "task")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.soak(
            scenario="voicemail", cycles=32,
            budget={"tasks": 1, "heap": "64 KiB/call", "rss": "1 MiB/call", "objects": 900},
        )
        def test_is_within_its_budget(soak):
            result = soak()
            assert result.calls.made >= 32
            ((found, why), *_) = result.allowed
            assert found.resource == "tasks"
            assert "within its budget of 1.00 a call" in why

        @pytest.mark.soak(budget={"task": 1})
        def test_with_a_wrong_budget(soak):
            soak()

        @pytest.mark.soak(sykles=1)
        def test_with_a_wrong_setting(soak):
            soak()
        """
    )
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    done.assert_outcomes(passed=1, failed=2)
    done.stdout.fnmatch_lines(
        [
            "*leakline: budgets: expected one of connections*found 'task'*",
            "*leakline: sykles: no such setting; expected one of sut, url*",
            "*::test_is_within_its_budget: clean (*voicemail*calls in*",
        ]
    )


def test_soaks_run_at_the_same_time_under_xdist_and_leave_their_reports(pytester: pytest.Pytester) -> None:
    configure(pytester, "task")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.soak(cycles=999)
        @pytest.mark.parametrize("scenario", ["voicemail", "early_hang_up"])
        def test_leaves_nothing(soak, scenario):
            soak(scenario)
        """
    )
    done = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "-n", "2", "--soak-cycles", "24", "--soak-report", "reports"
    )
    done.assert_outcomes(failed=2)
    for scenario in ("voicemail", "early_hang_up"):
        done.stdout.fnmatch_lines(
            ["*= leakline =*", f"*[[]{scenario}]: leaking: tasks*bridge.py:*leak_one*{scenario}*"]
        )
    written = sorted((pytester.path / "reports").glob("*.json"))
    assert len(written) == 2
    for path in written:
        found = json.loads(path.read_text(encoding="utf-8"))
        assert found["state"] == "leaking"
        assert found["growths"][0]["cycles"] == 24


def test_a_server_is_started_for_one_test(pytester: pytest.Pytester) -> None:
    configure(pytester, "none")
    pytester.makepyfile(
        """
        import os

        import pytest

        def test_is_called(sut, fake_openai):
            placed = sut.call()
            assert placed.failure == ""
            assert sut.url.startswith("ws://127.0.0.1:")
            os.kill(sut.pid, 0)
            assert fake_openai.ledger().seen("realtime") == 1

        @pytest.mark.soak(sut="/nonexistent/server")
        def test_with_a_wrong_command(sut):
            pass

        @pytest.mark.soak(sut="true", start_timeout=1.0)
        def test_with_a_server_that_ends(sut):
            pass
        """
    )
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    done.assert_outcomes(passed=1, errors=2)
    done.stdout.fnmatch_lines(
        ["*leakline: sut: expected a program to run, found '/nonexistent/server'*", "*exited with status 0*"]
    )


def test_in_a_test_with_an_event_loop_of_its_own(pytester: pytest.Pytester) -> None:
    configure(pytester, "none")
    pytester.makepyfile(
        """
        import asyncio

        import pytest

        from leakline import no_growth

        kept = []

        @pytest.mark.asyncio
        async def test_is_clean(soak):
            assert soak("voicemail", cycles=24).state == "clean"

        @pytest.mark.asyncio
        async def test_in_process():
            async with no_growth(cycles=48) as each:
                async for _ in each:
                    await asyncio.sleep(0)

        @pytest.mark.asyncio
        async def test_that_leaks():
            async with no_growth(cycles=48) as each:
                async for _ in each:
                    kept.append(asyncio.get_running_loop().call_later(3600, print))
        """
    )
    done = pytester.runpytest_subprocess(
        "-p", "no:cacheprovider", "-o", "asyncio_default_fixture_loop_scope=function"
    )
    done.assert_outcomes(passed=2, failed=1)
    done.stdout.fnmatch_lines(["*LEAKING  timers  +1.00 a call*"])
