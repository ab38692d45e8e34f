"""The command line: reads flags, runs, and has the result shown. Nothing imports this module."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from leakline import demo
from leakline.fakes_command import fakes_group
from leakline.harness.data.errors import LeaklineError, UsageError
from leakline.harness.data.model import RunResult
from leakline.harness.judge.alerts import thresholds
from leakline.harness.judge.compare import compare
from leakline.harness.run.mishap import traceback_in
from leakline.harness.run.monitor import Watch, WatchSettings
from leakline.harness.run.settings import SoakSettings, from_files, make, pairs
from leakline.harness.run.soak import soak
from leakline.harness.run.stored import load as load_run
from leakline.harness.run.stored import settings_of
from leakline.load_command import load_command
from leakline.reports import terminal
from leakline.reports.blocks import headline
from leakline.reports.ci import FORMATS
from leakline.reports.html import compare_html, html
from leakline.scenarios import BUILT_IN


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("leakline"), prog_name="leakline")
def cli() -> None:
    """Find what a voice-AI server leaks: how much per call, and from which line."""


@cli.command("soak")
@click.option("--sut", metavar="CMD", help="Command that starts your server; {port} becomes a free port.")
@click.option(
    "--url",
    metavar="URL",
    help="Its voice webhook (http://...) or Media Streams WebSocket (ws://127.0.0.1:{port}/media-stream).",
)
@click.option("--pid", type=int, metavar="N", help="Instead of --sut: a server that runs already.")
@click.option("--openai-port", type=int, metavar="N", help="Port of the fake OpenAI.  [default: a free one]")
@click.option("--scenario", metavar="NAME", help="A built-in scenario, or FILE.py:VARIABLE.")
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    metavar="RUN",
    help="Make a run again that was cut off, with its settings; its folder is in runs/.",
)
@click.option("--cycles", type=int, metavar="N", help="Calls that count.  [default: 96]")
@click.option("--warmup", type=int, metavar="N", help="Calls before the first sample.  [default: 16]")
@click.option("--concurrency", type=int, metavar="N", help="Calls at a time.  [default: 8]")
@click.option("--speed", type=float, metavar="X", help="Call seconds per second.  [default: 10]")
@click.option(
    "--settle", type=float, metavar="S", help="Seconds that growth gets to go away by itself.  [default: 6]"
)
@click.option("--start-timeout", type=float, metavar="S", help="Seconds to listen in.  [default: 30]")
@click.option(
    "--gauge",
    "gauges",
    multiple=True,
    metavar="NAME=URL#FIELD",
    help="A number that your server publishes, to be judged.",
)
@click.option("--intercept", multiple=True, metavar="HOST", help="A hard-coded host: api.openai.com, api.twilio.com.")
@click.option("--peak", is_flag=True, default=None, help="Measure the memory that long calls need while they last.")
@click.option("--env", "env", multiple=True, metavar="NAME=VALUE", help="Set for the server; may be repeated.")
@click.option(
    "--fault",
    "faults",
    multiple=True,
    metavar="RULE",
    help="How a fake fails: 'latency(seconds=0.3)@realtime'.",
)
@click.option(
    "--code", multiple=True, metavar="DIR", help="Where your own code is, when it is installed as a library."
)
@click.option("--runs", metavar="DIR", help="Where runs are kept.  [default: runs]")
@click.option("--baseline", metavar="FILE", help="Fail only for what is worse than in this run or baseline.")
@click.option("--leaks", metavar="NAMES", help="Of the demo server: none, all, or names with commas.")
@click.option(
    "--demo",
    "platform",
    type=click.Choice(demo.PLATFORMS),
    default="python",
    help="What the demo server is written in.  [default: python]",
)
def soak_command(
    resume: Path | None,
    leaks: str | None,
    baseline: str | None,
    platform: demo.Platform,
    env: tuple[str, ...],
    faults: tuple[str, ...],
    intercept: tuple[str, ...],
    gauges: tuple[str, ...],
    code: tuple[str, ...],
    **flags: Any,
) -> None:
    """Make many calls to a server and say what grows with them.

    Without --sut it runs the demo: a server with leaks, then the same server without them.

    Exit code: 0 clean, 1 leaking, 2 wrong use, 3 inconclusive or the run failed, 4 leakline itself failed.
    """
    given = {
        **flags,
        "env": pairs("--env", env) or None,
        "faults": faults or None,
        "intercept": intercept or None,
        "code": code or None,
        "gauges": pairs("--gauge", gauges) or None,
    }
    console = Console(highlight=False)
    earlier = load_run(Path(baseline)) if baseline is not None else None
    if resume is not None:
        sys.exit(_reported(console, _resume(console, resume, given, earlier), earlier))
    own_server = flags["sut"] is not None or flags["url"] is not None or from_files(Path.cwd())
    if own_server and leaks is None:
        sys.exit(_reported(console, _run(console, make(given, Path.cwd()), earlier), earlier))
    if own_server and flags["sut"] is not None:
        raise UsageError("--leaks: it is for the demo server; expected it without --sut")
    if leaks is not None:
        result = _run(console, SoakSettings(**demo.given(leaks, given, platform)), earlier)
        sys.exit(_reported(console, result, earlier))
    sys.exit(_demo(console, given, platform))


def _resume(console: Console, run: Path, given: dict[str, Any], earlier: RunResult | None) -> RunResult:
    """Make a run again that was interrupted: what its server retained is gone with it, so all calls are made anew."""
    settings, made = settings_of(run, given["env"] or {})
    settings |= {name: value for name, value in given.items() if value is not None}
    console.print(f"makes {run} again, which was interrupted after {made} calls", soft_wrap=True)
    return _run(console, SoakSettings(**settings), earlier)


@cli.command("report")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--format", "name", type=click.Choice([*FORMATS]), default="text", show_default=True)
@click.option("--output", type=click.Path(path_type=Path), help="[default: standard output]")
def report_command(run: Path, name: str, output: Path | None) -> None:
    """Write the report of a run (its folder in runs/) again, also of one that was cut off."""
    _write(FORMATS[name](load_run(run)), output)


@cli.command("baseline")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--output", type=click.Path(path_type=Path), default=Path("leakline-baseline.json"), show_default=True)
def baseline_command(run: Path, output: Path) -> None:
    """Keep a run's findings as the baseline for `soak --baseline`."""
    result = replace(load_run(run), samples=(), directory="")
    _write(json.dumps({"kind": "result", **result.to_json()}, default=str) + "\n", output)
    click.echo(f"{output}: {len(result.findings)} findings of {headline(result)}")


@cli.command("compare")
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("--html", "page", type=click.Path(path_type=Path), metavar="FILE", help="Write them over each other.")
def compare_command(before: Path, after: Path, page: Path | None) -> None:
    """Say what is new, worse, better or resolved between two runs. Exit code 1 when something is new or worse."""
    earlier, later = load_run(before), load_run(after)
    found = compare(earlier, later)
    if page is not None:
        _write(compare_html(earlier, later, found), page)
    terminal.show_differences(Console(highlight=False), found)
    sys.exit(int(any(difference.is_regression for difference in found)))


@cli.command("bisect", context_settings={"ignore_unknown_options": True})
@click.option("--good", required=True, metavar="REV", help="A commit that does not leak.")
@click.option("--bad", required=True, metavar="REV", help="A commit that does.")
@click.argument("soak_options", nargs=-1, type=click.UNPROCESSED)
def bisect_command(good: str, bad: str, soak_options: tuple[str, ...]) -> None:
    """Find the commit that began to leak, by git bisect; what follows are options of soak."""
    if subprocess.run(
        [
            "git",
            "bisect",
            "start",
            "--",
        ],
        check=False,
    ).returncode:
        raise UsageError("bisect: expected to run in a git repository without another bisect under way")
    try:
        for word, revision in (("bad", bad), ("good", good)):
            if subprocess.run(["git", "bisect", word, revision], check=False).returncode:
                raise UsageError(f"bisect: --{word}: expected a commit, found {revision!r}")
        soak_here = [sys.executable, "-P", "-m", "leakline", "soak", *soak_options]
        # A run that cannot tell (2, 3) is skipped: 125 says so to git.
        step = ["sh", "-c", '"$@"; code=$?; [ $code -ge 2 ] && exit 125; exit $code', "soak", *soak_here]
        code = subprocess.run(["git", "bisect", "run", *step], check=False).returncode
    finally:
        subprocess.run(["git", "bisect", "reset"], check=False)
    sys.exit(code)


def _write(text: str, output: Path | None) -> None:
    if output is None:
        click.echo(text, nl=False)
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"output: cannot write {output}: {error.strerror}") from None


def _reported(console: Console, result: RunResult, earlier: RunResult | None) -> int:
    """The exit code of a run. In a GitHub workflow its findings are annotated on their lines, and summed up."""
    if os.environ.get("GITHUB_ACTIONS") == "true":
        click.echo(FORMATS["github"](result), nl=False)
        summary = os.environ.get("GITHUB_STEP_SUMMARY")
        if summary:
            with Path(summary).open("a", encoding="utf-8") as file:
                file.write(FORMATS["markdown"](result))
    if earlier is not None:
        terminal.show_differences(console, compare(earlier, result))
    return result.exit_code


@cli.command("watch")
@click.option("--pid", type=int, required=True, metavar="N", help="The server's process.")
@click.option(
    "--every", "every_s", type=float, default=15.0, show_default=True, metavar="S", help="Between readings."
)
@click.option("--for", "for_s", type=float, metavar="S", help="How long.  [default: until the server ends]")
@click.option(
    "--gauge", "gauges", multiple=True, metavar="NAME=URL#FIELD", help="A number of the server's; 'calls' is known."
)
@click.option("--threshold", "limits", multiple=True, metavar="NAME=N", help="Such as timers=10, heap_jump_mb=50.")
@click.option("--agent/--no-agent", default=True, help="Look inside, or from outside alone.")
@click.option("--metrics-port", type=int, metavar="N", help="Serve a page for Prometheus on 127.0.0.1.")
@click.option("--webhook", default="", metavar="URL", help="Tell it of each alert.")
def watch_command(gauges: tuple[str, ...], limits: tuple[str, ...], **flags: Any) -> None:
    """Monitor a server that runs, and raise an alert when it begins to leak.

    Exit code: 0 when no alert was raised, 1 when one was, 2 wrong use.
    """
    settings = WatchSettings(
        gauges=pairs("--gauge", gauges), limits=thresholds(pairs("--threshold", limits)), **flags
    )
    sys.exit(asyncio.run(_watch(Console(highlight=False), settings)))


async def _watch(console: Console, settings: WatchSettings) -> int:
    has_raised = False
    async with Watch(settings) as watch:
        if watch.metrics_port is not None:
            console.print(f"metrics: http://127.0.0.1:{watch.metrics_port}/metrics", soft_wrap=True)
        async for seen in watch.updates():
            has_raised |= any(change.raised for change in seen.changes)
            terminal.show_reading(console, seen.values, [*map(str, seen.changes)], seen.notes)
    return int(has_raised)


cli.add_command(load_command)
cli.add_command(fakes_group)


@cli.command("scenarios")
def scenarios_command() -> None:
    """List the built-in scenarios."""
    for scenario in BUILT_IN.values():
        click.echo(f"{scenario.name:24} {scenario.about}")


def _demo(console: Console, given: dict[str, Any], platform: demo.Platform) -> int:
    """The leaky server, then the fixed one: 0 when only the first leaks, 1 when the fixed one does, else 3."""
    leaky = _run(console, SoakSettings(**demo.given(demo.LEAKS, given, platform)), title="the server with its leaks")
    fixed = _run(console, SoakSettings(**demo.given("none", given, platform)), title="the same server, fixed")
    as_it_should = leaky.state == "leaking" and fixed.state == "clean"
    console.print(
        f"  With its leaks the server is {leaky.state} ({len(leaky.findings)} found); fixed, it is {fixed.state}.\n"
        "  Now yours:  leakline soak --sut 'CMD --port {port}' --url 'ws://127.0.0.1:{port}/media-stream'\n",
        markup=False,
        soft_wrap=True,
    )
    return 0 if as_it_should else 1 if fixed.state == "leaking" else 3


def _run(console: Console, settings: SoakSettings, earlier: RunResult | None = None, *, title: str = "") -> RunResult:
    """Soak, and show the result; `earlier` is the baseline."""
    with terminal.Live(console, title or settings.name or "soak") as live:
        result = asyncio.run(_until_terminated(settings, live, earlier))
    page = Path(result.directory) / "report.html"
    with traceback_in(page.parent):
        _write(html(result), page)
        terminal.show(console, result, report=str(page))
    return result


async def _until_terminated(settings: SoakSettings, live: terminal.Live, earlier: RunResult | None) -> RunResult:
    """The run; SIGTERM ends it as Ctrl-C does, with nothing left running."""
    task = asyncio.ensure_future(soak(settings, live, baseline=earlier))
    loop = asyncio.get_running_loop()
    with contextlib.suppress(NotImplementedError):
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


def main() -> None:
    """Do what the command line says, and exit. Raises KeyboardInterrupt when it was interrupted."""
    try:
        with traceback_in():
            _obey()
    except LeaklineError as error:
        _fail(str(error), error.exit_code)
    except asyncio.CancelledError:  # by SIGTERM
        raise KeyboardInterrupt from None


def _obey() -> None:
    """Do what the command line says; click's own errors, and what it makes of Ctrl-C, end as leakline's do."""
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except click.Abort:
        raise KeyboardInterrupt from None


def _fail(message: str, code: int) -> None:
    click.echo(f"leakline: {message}", err=True)
    sys.exit(code)
