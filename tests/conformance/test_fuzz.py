"""Malformed input of any kind: the documented error, never another one."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leakline.fakes.ledger import Ledger
from leakline.fakes.openai import ModelScript, OpenAIServer
from leakline.fakes.openai.answer import answer
from leakline.fakes.openai.catalog import client_secret, embeddings
from leakline.fakes.openai.chat import chat_request, chunks, completion
from leakline.fakes.openai.errors import ClientError
from leakline.fakes.openai.responses import response, responses_request, stream
from leakline.fakes.openai.speech import speech_request
from leakline.fakes.openai.transcription import transcription_request

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
FIELDS = (
    "model", "messages", "input", "tools", "tool_choice", "response_format", "text", "stream", "stream_options",
    "parallel_tool_calls", "voice", "speed", "dimensions", "encoding_format", "session", "expires_after", "metadata",
)  # fmt: skip
MESSAGES = st.lists(st.fixed_dictionaries({"role": st.just("user"), "content": JSON}), min_size=1, max_size=2)
BODY = (
    JSON
    | st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=6)
    | st.fixed_dictionaries(
        {
            "model": st.just("m"),
            "messages": MESSAGES,
            "input": st.text(min_size=1, max_size=9),
            "voice": st.just("a"),
        },
        optional=dict.fromkeys([name for name in FIELDS[3:] if name != "voice"], JSON),
    )
)
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=300)


def chat(body: Any) -> None:
    request = chat_request(body)
    said = answer("Hello there.", request.constraints)
    json.dumps([completion(request, said, number=1, created=1), *chunks(request, said, number=1, created=1)])


def responses(body: Any) -> None:
    request = responses_request(body)
    said = answer("Hello there.", request.constraints)
    json.dumps([response(request, said, number=1, created=1), *stream(request, said, number=1, created=1)])


def refused_as_documented(work: Callable[[], object]) -> bool:
    """Whether `work` succeeds, or fails with an error of the service's form; any other error comes through."""
    try:
        work()
    except ClientError as error:
        return 400 <= error.status < 500 and bool(json.dumps(error.body))
    return True


HANDLERS: list[Callable[[Any], object]] = [
    chat,
    responses,
    embeddings,
    speech_request,
    lambda body: client_secret(body, number=1, now=1),
]


@pytest.mark.parametrize("handler", HANDLERS)
def test_a_body_of_any_kind_is_answered_or_refused_as_documented(handler: Callable[[Any], object]) -> None:
    @SLOW
    @given(BODY)
    def fuzz(body: Any) -> None:
        assert refused_as_documented(lambda: handler(body))

    fuzz()


@SLOW
@given(
    st.dictionaries(
        st.sampled_from(["model", "response_format", "stream", "language", "timestamp_granularities[]"]),
        st.lists(st.text(max_size=12), min_size=1, max_size=2),
    ),
    st.none() | st.tuples(st.sampled_from(["a.wav", "a.mp3", "a", "a.exe"]), st.binary(max_size=200)),
)
def test_an_upload_of_any_kind_is_taken_or_refused(
    fields: dict[str, list[str]], file: tuple[str, bytes] | None
) -> None:
    assert refused_as_documented(lambda: transcription_request(fields, file))


def test_bytes_of_any_kind_leave_the_server_up() -> None:
    samples = [
        b"\x00" * 64,
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n{",
        b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5\r\n\r\nhello",
        b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        b"\xff\xff\xff\xff\xff\xff",
    ]

    async def main() -> None:
        ledger = Ledger()
        async with OpenAIServer(ModelScript(), ledger) as server, aiohttp.ClientSession() as http:
            host, port = server.base_url.removeprefix("http://").removesuffix("/v1").split(":")
            for sample in samples:
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(sample)
                await writer.drain()
                writer.write_eof()
                await asyncio.wait_for(reader.read(), 10)
                writer.close()
            async with http.get(f"{server.base_url}/models", headers={"Authorization": "Bearer k"}) as answered:
                assert answered.status == 200
            async with asyncio.timeout(10):
                while ledger.still_open():
                    await asyncio.sleep(0.02)

    asyncio.run(main())
