import asyncio
import base64
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import openai
import pytest

from leakline.fakes import audio
from leakline.fakes.ledger import Ledger
from leakline.fakes.openai import ModelScript, OpenAIServer, Turn

SCRIPT = ModelScript(turns=(Turn("We are open.", seconds=0.4),), hears=("Open?",), chat=("Yes.", "No, sir."))


@asynccontextmanager
async def running(ledger: Ledger | None = None, speed: float = 20.0) -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer(SCRIPT, ledger or Ledger(), speed=speed) as server:
        yield server


def client_of(server: OpenAIServer) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="sk-test", base_url=server.base_url, max_retries=0)


def test_the_official_sdk_has_a_whole_turn_over_the_realtime_api() -> None:
    async def turn() -> list[str]:
        ledger = Ledger()
        async with running(ledger) as server, client_of(server) as client:
            kinds: list[str] = []
            async with client.realtime.connect(model="gpt-realtime") as connection:
                await connection.session.update(
                    session={
                        "type": "realtime",
                        "audio": {
                            "input": {"format": {"type": "audio/pcmu"}},
                            "output": {"format": {"type": "audio/pcmu"}},
                        },
                    }
                )
                for frame in (*audio.speech_frames(0.4), *[audio.SILENCE_FRAME] * 26):
                    await connection.input_audio_buffer.append(audio=base64.b64encode(frame).decode())
                async with asyncio.timeout(10):
                    async for event in connection:
                        kinds.append(event.type)
                        if event.type == "response.done":
                            break
                assert len(ledger.still_open("realtime")) == 1
            await _until(lambda: not ledger.still_open("realtime"))
            assert [c.ending for c in ledger.ended("realtime")] == ["closed 1000"]
            return kinds

    kinds = asyncio.run(turn())
    assert kinds[:2] == ["session.created", "session.updated"]
    assert "response.output_audio.delta" in kinds
    assert kinds[-1] == "response.done"


def test_the_official_sdk_chats_whole_and_streamed() -> None:
    async def chat() -> tuple[str | None, str, int]:
        async with running() as server, client_of(server) as client:
            whole = await client.chat.completions.create(
                model="gpt-4o-mini", messages=[{"role": "user", "content": "Are you open?"}]
            )
            stream = await client.chat.completions.create(
                model="gpt-4o-mini",
                messages=[{"role": "user", "content": "Sure?"}],
                stream=True,
                stream_options={"include_usage": True},
            )
            text, tokens = "", 0
            async for chunk in stream:
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
                tokens = chunk.usage.total_tokens if chunk.usage else tokens
            return whole.choices[0].message.content, text, tokens

    content, streamed, tokens = asyncio.run(chat())
    assert (content, streamed) == ("Yes.", "No, sir.")
    assert tokens > 0


def test_the_sdk_raises_its_own_errors() -> None:
    async def ask() -> None:
        async with running() as server, client_of(server) as client:
            with pytest.raises(openai.BadRequestError, match="empty array") as bad:
                await client.chat.completions.create(model="gpt-4o-mini", messages=[])
            assert bad.value.param == "messages"
            with pytest.raises(openai.NotFoundError, match="Invalid URL"):
                await client.get("/nothing", cast_to=object)
            async with client_of(server).with_options(default_headers={"Authorization": "Basic eA=="}) as nobody:
                with pytest.raises(openai.AuthenticationError, match="API key"):
                    await nobody.chat.completions.create(
                        model="gpt-4o-mini", messages=[{"role": "user", "content": "Hello"}]
                    )

    asyncio.run(ask())


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": 1, "messages": []}', b'{"model": "m"}'])
def test_a_broken_body_is_a_400_and_the_server_stays_up(body: bytes) -> None:
    async def post() -> tuple[int, str]:
        async with running() as server, aiohttp.ClientSession(headers={"Authorization": "Bearer k"}) as http:
            async with http.post(f"{server.base_url}/chat/completions", data=body) as response:
                answer = await response.json()
            async with http.get(f"{server.base_url}/nothing") as after:
                assert after.status == 404
            return response.status, answer["error"]["type"]

    assert asyncio.run(post()) == (400, "invalid_request_error")


def test_a_realtime_connection_needs_a_key_and_an_upgrade() -> None:
    async def connect() -> None:
        async with running() as server, aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await http.ws_connect(server.realtime_url)
            assert refused.value.status == 401
            async with http.get(f"{server.base_url}/realtime", headers={"Authorization": "Bearer k"}) as plain:
                assert plain.status == 400
            # A browser cannot set headers: it gives its key as a subprotocol.
            browser = await http.ws_connect(
                server.realtime_url, protocols=("realtime", "openai-insecure-api-key.ek_1")
            )
            assert (await browser.receive_json())["type"] == "session.created"
            await browser.close()

    asyncio.run(connect())


def test_a_session_at_its_maximum_duration_gets_an_error_and_is_closed() -> None:
    async def main() -> tuple[list[str], int | None, str]:
        ledger = Ledger()
        async with OpenAIServer(SCRIPT, ledger, session_s=0.3) as server, aiohttp.ClientSession() as http:
            websocket = await http.ws_connect(server.realtime_url, headers={"Authorization": "Bearer k"})
            async with asyncio.timeout(10):
                seen = [message.json() async for message in websocket]
            await _until(lambda: not ledger.still_open("realtime"))
        codes = [event["error"]["code"] for event in seen if event["type"] == "error"]
        return codes, websocket.close_code, ledger.ended("realtime")[0].ending

    assert asyncio.run(main()) == (["session_expired"], 1001, "expired")


def test_the_ledger_says_how_a_client_went_away() -> None:
    async def drop() -> str:
        ledger = Ledger()
        async with running(ledger) as server:
            reader, writer = await asyncio.open_connection(*_address(server))
            writer.write(
                b"GET /v1/realtime HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            )
            await reader.readuntil(b"session.created")
            assert len(ledger.still_open("realtime")) == 1
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            await _until(lambda: not ledger.still_open())
        (ended,) = ledger.ended("realtime")
        return ended.ending

    assert asyncio.run(drop()) == "dropped"


def test_stopping_closes_what_is_open_and_a_taken_port_is_an_error() -> None:
    async def stop() -> int | None:
        async with aiohttp.ClientSession() as http:
            async with running() as server:
                port = _address(server)[1]
                with pytest.raises(OSError, match="in use"):
                    await OpenAIServer(SCRIPT, Ledger(), port=port).__aenter__()
                websocket = await http.ws_connect(server.realtime_url, headers={"Authorization": "Bearer k"})
                await websocket.receive()
                closing = asyncio.create_task(_drain(websocket))
                await asyncio.sleep(0)
            return await closing

    assert asyncio.run(stop()) == 1001


async def _drain(websocket: aiohttp.ClientWebSocketResponse) -> int | None:
    async for _ in websocket:
        pass
    return websocket.close_code


async def _until(condition: Callable[[], object], limit_s: float = 5.0) -> None:
    async with asyncio.timeout(limit_s):
        while not condition():
            await asyncio.sleep(0.01)


def _address(server: OpenAIServer) -> tuple[str, int]:
    host, _, port = server.base_url.removeprefix("http://").removesuffix("/v1").partition(":")
    return host, int(port)
