"""The plugin in a real pytest run, against a real server."""

import sys
from pathlib import Path

import pytest

BRIDGE = Path(__file__).parent / "suts" / "bridge.py"


def configure(pytester: pytest.Pytester, leak: str) -> None:
    pytester.makepyprojecttoml(
        f"""
        [tool.leakline]
        sut = '{sys.executable} {BRIDGE} {{port}} {leak}'
        url = 'ws://127.0.0.1:{{port}}/'
        warmup = 8
        concurrency = 4
        settle = 1.0
        """
    )


def test_a_leak_fails_the_test_with_the_finding_as_its_message(pytester: pytest.Pytester) -> None:
    configure(pytester, "task")
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.soak(cycles=40)
        def test_leaves_nothing_behind(soak):
            soak("question")
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
        from scenarios import Agent, HangUp, Listen, Say, Scenario

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


def test_a_project_with_a_harness_of_its_own_can_use_pytest(pytester: pytest.Pytester) -> None:
    pytester.mkpydir("harness")
    pytester.makepyfile(
        """
        def test_other():
            import harness

        def test_it(soak):
            soak(sut="true", url="ws://x/")
        """
    )
    done = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-o", "pythonpath=.")
    done.assert_outcomes(passed=1, failed=1)
    done.stdout.fnmatch_lines(["*does a 'harness' or 'scenarios' of this project stand in their way?*"])
