"""The command `leakline load`: Locust with our locustfile, in place of this process."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import click

from leakline.harness.data.errors import UsageError

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
"""What Locust is given for a load run."""


@click.command("load", context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.option(
    "-u",
    "--users",
    type=click.IntRange(1, 100_000),
    default=10,
    show_default=True,
    metavar="N",
    help="Callers at a time.",
)
@click.option(
    "-r",
    "--spawn-rate",
    type=click.FloatRange(0.01),
    metavar="X",
    help="New callers a second.  [default: a tenth of them]",
)
@click.option("-t", "--run-time", default="60s", show_default=True, metavar="T", help="Such as 90s, 10m.")
@click.option("--web", is_flag=True, help="With Locust's web page, on 127.0.0.1:8089.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def load_command(users: int, spawn_rate: float | None, run_time: str, web: bool, options: tuple[str, ...]) -> None:
    """Put many calls at a time on a server, in Locust, and say if its memory comes back.

    Without --sut it calls the demo server. What is not listed here goes to Locust: its own options, and --sut, --url,
    --pid, --leaks, --scenario, --speed, --env, --settle, --load-shape, --threshold, --memory-every.

    Exit code: 0 clean, 1 leaking or a threshold not kept, 2 wrong use, 3 inconclusive or the
    run failed, 4 leakline itself failed.
    """
    if find_spec("locust") is None:
        raise UsageError("load: expected Locust to be installed: pip install 'leakline[load]'")
    rate = spawn_rate if spawn_rate is not None else max(1.0, users / 10)
    how = ["--autostart", "--web-host", "127.0.0.1"] if web else ["--headless", "--only-summary"]
    command = [sys.executable, "-P", "-m", "locust", "-f", str(LOCUSTFILE), *how]
    command += ["--users", str(users), "--spawn-rate", f"{rate:g}", "--run-time", run_time, *options]
    sys.stdout.flush()
    os.execv(sys.executable, command)  # noqa: S606  (the same interpreter, no shell)
