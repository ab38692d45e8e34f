"""Each leak of the restaurant against leakline.

`python benchmarks/corpus.py [--node] [--seed] [--runs N] [--cycles N] [--warmup N] [--settle S] [--jobs N]
[LEAK ...]` prints, for each leak alone, in how many of the runs something was found, and what and where; the sound
server comes last. It is the table of `docs/corpus.md`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from leakline import demo
from leakline.harness.data.errors import LeaklineError
from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.soak import soak
from leakline.reports import blocks

SEED = (
    "duplicate_clients",
    "orphaned_intervals",
    "websocket_listeners",
    "timeout_timers",
    "upload_streams",
    "unbounded_carts",
    "duplicate_adapters",
    "whole_recordings",
    "cache_polling",
    "silent_errors",
)
"""The ten leaks of the report that leakline began with."""

Place = tuple[str, str]
"""(resource, function)."""

Run = tuple[tuple[Place, ...], str, float]
"""Where it found what, the same in words, and how long it took in seconds."""


def one(leak: str, cycles: int, warmup: int | None, settle: float, platform_: demo.Platform) -> Run:
    """One soak with one leak."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as runs:
        try:
            given = demo.given(leak, {"warmup": warmup, "settle": settle, "runs": runs}, platform_)
            # One call at a time makes a sample of each: a quarter of the calls are as many samples.
            given["cycles"] = max(8, cycles // 4) if given.get("concurrency") == 1 else cycles
            settings = SoakSettings(**given)
            result = asyncio.run(soak(settings))
        except LeaklineError as error:
            return (), f"no run: {error}", time.monotonic() - began
    places = tuple((f.resource, f.site.function if f.site else "(no line)") for f in result.findings)
    measures = (blocks.measure(f).partition(" (")[0] for f in result.findings)
    words = [
        f"{resource} {measure} in {function}" for (resource, function), measure in zip(places, measures, strict=True)
    ]
    retainers = [f"retained by {name}" for f in result.findings for name in f.kept_in]
    unsure = [g.resource for g in result.growths if g.state == "inconclusive"]
    nothing = f"inconclusive ({', '.join(unsure) or '; '.join(result.notes)})" if result.state != "clean" else "clean"
    return places, "; ".join([*words, *retainers]) or nothing, time.monotonic() - began


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--warmup", type=int, help="calls that are not counted; as in any soak by default")
    parser.add_argument("--settle", type=float, default=6.0, help="seconds that what is suspected may go away in")
    parser.add_argument("--seed", action="store_true", help="the ten leaks of the seed alone")
    parser.add_argument("--node", action="store_true", help="the restaurant in Node, not the one in Python")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("leaks", nargs="*")
    options = parser.parse_args()
    server: demo.Platform = "node" if options.node else "python"
    leaks = options.leaks or (list(SEED) if options.seed else [*demo.leaks(server), "none"])
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {options.cycles} calls\n"
    )
    print(f"| {'leak':20} | found in | seconds | what and where |\n|{'-' * 22}|---|---|---|")
    began = time.monotonic()
    with ProcessPoolExecutor(options.jobs) as pool:
        waiting = [
            (
                leak,
                [
                    pool.submit(one, leak, options.cycles, options.warmup, options.settle, server)
                    for _ in range(options.runs)
                ],
            )
            for leak in leaks
        ]
        for leak, futures in waiting:
            _show(leak, [future.result() for future in futures])
    print(f"\n{time.monotonic() - began:.0f} s in all, {options.jobs} at a time")


def _show(leak: str, runs: Sequence[Run]) -> None:
    # Amounts differ a little from run to run: what is the same is the resource and the place.
    kinds = Counter(places or text for places, text, _ in runs)
    found = sum(bool(places) for places, _, _ in runs)
    seconds = sum(s for _, _, s in runs) / len(runs)
    text_of = {places or text: text for places, text, _ in reversed(runs)}
    words = [
        text_of[places] + (f" ({times} times)" if len(kinds) > 1 else "") for places, times in kinds.most_common()
    ]
    print(f"| {leak:20} | {found} of {len(runs)} | {seconds:4.0f} | {'<br>'.join(words)} |", flush=True)


if __name__ == "__main__":
    main()
