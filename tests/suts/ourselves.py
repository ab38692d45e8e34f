"""leakline as a server under test: `python ourselves.py PORT`.

It is in the midst of a soak of its own, of `bridge.py`: each call that comes in has it make four there at a time, and
now and then read all counters and write them down. What harness, fakes and probes leave behind of a call is its leak.
"""

from __future__ import annotations

import asyncio
import base64
import os
import sys
import tempfile
from pathlib import Path
from typing import cast

from websockets.asyncio.server import ServerConnection, serve

from leakline.fakes.audio import AudioFormat, tagged_silence
from leakline.fakes.ledger import Ledger
from leakline.fakes.openai.session import audio_of
from leakline.fakes.openai.vad import ServerVad
from leakline.harness.run.observer import Silent
from leakline.harness.run.settings import SoakSettings
from leakline.harness.run.stage import on_stage

BRIDGE = Path(__file__).with_name("bridge.py")
AT_A_TIME = 4
SAMPLE_EVERY = 16
"""Calls: a sample takes longer than a call."""
EARLIER = 2048
"""Calls: twice what the fake model's caches of frames hold, since the table of a full one still grows once; a call
has one frame of its own. The ledger holds less.
"""


def fill_caches(ledger: Ledger) -> None:
    """What earlier calls would have left in what is bounded, text by text as long as real calls' are."""
    for number in range(EARLIER):
        frame = base64.b64encode(tagged_silence(number)).decode()
        codec = cast(AudioFormat, "/".join(("audio", "pcmu")))  # a text of its own, as each session's JSON has it
        ServerVad().push(audio_of({"audio": frame}), codec)
        stream = ledger.opened("twilio", "media-stream", "ws://127.0.0.1:5000/", call=f"CA{number:032x}")
        session = ledger.opened("openai", "realtime", f"127.0.0.1:{40_000 + number}", "gpt-realtime")
        ledger.belongs(session, f"CA{number:032x}")
        for entry, ending in ((session, f"closed {1000 + number}"), (stream, f"caller hung {number % 90 + 10}")):
            ledger.moved(entry, received=20_000 + number, sent=20_000 + number)
            ledger.closed(entry, ending)


async def main(port: int) -> None:
    with tempfile.TemporaryDirectory() as runs:
        settings = SoakSettings(
            sut=f"{sys.executable} {BRIDGE} {{port}} none",
            url="ws://127.0.0.1:{port}/",
            scenario="question",
            speed=20.0,
            runs=runs,
        )
        async with on_stage(settings, Silent()) as stage:
            fill_caches(stage.ledger)
            await stage.until_ready()
            one_after_the_other = asyncio.Lock()

            async def outer(caller: ServerConnection) -> None:
                async with one_after_the_other:
                    async for _ in stage.calls.batches(AT_A_TIME, AT_A_TIME):
                        pass
                    if stage.calls.failures:
                        print(stage.calls.failures, file=sys.stderr)
                        os._exit(1)
                    if stage.calls.made % SAMPLE_EVERY == 0:
                        stage.journal.write("sample", values=await stage.counters.quiet())
                async for _ in caller:
                    pass

            async with serve(outer, "127.0.0.1", port):
                await asyncio.get_running_loop().create_future()


asyncio.run(main(int(sys.argv[1])))
