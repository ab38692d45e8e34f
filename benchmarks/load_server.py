"""The echo server of `benchmarks/load.py`: sends media back, and notes when each frame came.

Commands on standard input, a line each: `begin` forgets what came so far; `report` prints, as a line of JSON, how
many calls there are and how late their frames came. Ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import Any

import numpy as np
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

FRAME_S = 0.02
EARLY = 0.05
"""Frames that came earlier, within their call, are taken to have been on time."""


class Echo(WSListener):
    """One call."""

    def __init__(self, calls: set[Echo]) -> None:
        self._calls = calls
        self.came: list[float] = []
        self.waiting = 0

    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport
        self._calls.add(self)

    def on_ws_disconnected(self, _transport: WSTransport) -> None:
        self._calls.discard(self)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type == WSMsgType.TEXT:
            message = frame.get_payload_as_bytes()
            if b'"media"' in message[:20]:
                self.came.append(time.monotonic())
                transport.send(WSMsgType.TEXT, message)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close()
            transport.disconnect()

    def not_read(self) -> int:
        """Bytes of the echo that the client has left lying."""
        return int(self._transport.underlying_transport.get_write_buffer_size())


def report(calls: set[Echo], since: float) -> dict[str, Any]:
    """How late frames came, each against the early ones of its call: the client alone knows when they were due."""
    seconds = time.monotonic() - since
    late, frames = [], 0
    for call in calls:
        came = np.array(call.came)
        frames += len(came)
        if len(came):
            offsets = came - FRAME_S * np.arange(len(came))
            late.append(offsets - np.quantile(offsets, EARLY))
    all_late = np.concatenate(late) if late else np.zeros(0)
    return {
        "calls": len(calls),
        "pace": frames / (len(calls) * seconds / FRAME_S) if calls else 0.0,
        "p50_ms": 1000 * float(np.quantile(all_late, 0.5)) if len(all_late) else 0.0,
        "p99_ms": 1000 * float(np.quantile(all_late, 0.99)) if len(all_late) else 0.0,
        "not_read": sum(call.not_read() > 0 for call in calls),
        "frames": frames,
    }


async def main() -> None:
    """Serve until the input ends."""
    os.sched_setaffinity(0, {1})
    calls: set[Echo] = set()

    def accept(_request: WSUpgradeRequest) -> Echo:
        return Echo(calls)

    server = await ws_create_server(accept, "127.0.0.1", 0, backlog=4096)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    since = time.monotonic()
    while line := await reader.readline():
        if line.strip() == b"begin":
            for call in calls:
                call.came = []
            since = time.monotonic()
        else:
            print(json.dumps(report(calls, since)), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
