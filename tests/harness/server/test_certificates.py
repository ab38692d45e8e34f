"""Clients with hard-coded hosts, unmodified, reach the fakes over real TLS."""

import asyncio
import contextlib
import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from leakline.fakes.ledger import Ledger
from leakline.fakes.openai import ModelScript, OpenAIServer
from leakline.harness.agents import NODE_AGENT, PYTHON_AGENT_DIR
from leakline.harness.data.errors import UsageError
from leakline.harness.server.certificates import CA_VARIABLE, OPENAI, TWILIO, VARIABLE, CertificateAuthority

KEY = "Bearer sk-any"
MODELS = "https://api.openai.com/v1/models"
REALTIME = "wss://api.openai.com/v1/realtime?model=gpt-realtime"

IN_PYTHON = {
    "urllib": f"""
import urllib.request
request = urllib.request.Request("{MODELS}", headers={{"Authorization": "{KEY}"}})
print(urllib.request.urlopen(request).status)
""",
    "requests": f"""
import requests
print(requests.get("{MODELS}", headers={{"Authorization": "{KEY}"}}).status_code)
""",
    "httpx": f"""
import httpx
print(httpx.get("{MODELS}", headers={{"Authorization": "{KEY}"}}).status_code)
""",
    "httpx2, asyncio": f"""
import asyncio, httpx2
async def main():
    async with httpx2.AsyncClient() as client:
        print((await client.get("{MODELS}", headers={{"Authorization": "{KEY}"}})).status_code)
asyncio.run(main())
""",
    "aiohttp": f"""
import aiohttp, asyncio
async def main():
    async with aiohttp.ClientSession() as http, http.get("{MODELS}", headers={{"Authorization": "{KEY}"}}) as answer:
        print(answer.status)
asyncio.run(main())
""",
    "httpx2, uvloop": f"""
import httpx2, uvloop
async def main():
    async with httpx2.AsyncClient() as client:
        print((await client.get("{MODELS}", headers={{"Authorization": "{KEY}"}})).status_code)
uvloop.run(main())
""",
    "openai": """
import openai
print(200 if openai.OpenAI(api_key="sk-any").models.list().data else 0)
""",
    "websockets": f"""
import asyncio, websockets
async def main():
    async with websockets.connect("{REALTIME}", additional_headers={{"Authorization": "{KEY}"}}) as socket:
        print(200 if "session.created" in await socket.recv() else 0)
asyncio.run(main())
""",
    "websockets, uvloop": f"""
import uvloop, websockets
async def main():
    async with websockets.connect("{REALTIME}", additional_headers={{"Authorization": "{KEY}"}}) as socket:
        print(200 if "session.created" in await socket.recv() else 0)
uvloop.run(main())
""",
    "aiohttp, uvloop": f"""
import aiohttp, uvloop
async def main():
    async with aiohttp.ClientSession() as http, http.get("{MODELS}", headers={{"Authorization": "{KEY}"}}) as answer:
        print(answer.status)
uvloop.run(main())
""",
}
IN_NODE = {
    "fetch": f"console.log((await fetch('{MODELS}', {{ headers: {{ authorization: '{KEY}' }} }})).status)",
    "https": f"""
import https from 'node:https'
https.get('{MODELS}', {{ headers: {{ authorization: '{KEY}' }} }}, (answer) => {{
  console.log(answer.statusCode)
  answer.resume()
}})
""",
    "ws": f"""
import WebSocket from 'ws'
const socket = new WebSocket('{REALTIME}', {{ headers: {{ Authorization: '{KEY}' }} }})
socket.on('message', (data) => {{
  console.log(JSON.parse(data).type === 'session.created' ? 200 : 0)
  socket.close()
}})
""",
    "openai": """
import OpenAI from 'openai'
console.log((await new OpenAI({ apiKey: 'sk-any' }).models.list()).data.length > 0 ? 200 : 0)
""",
}


@contextlib.asynccontextmanager
async def intercepted(host: str = OPENAI) -> AsyncIterator[tuple[dict[str, str], Ledger]]:
    """The environment of a process whose connections to `host` are led to a fake OpenAI."""
    ledger = Ledger()
    with CertificateAuthority([host]) as authority:
        async with OpenAIServer(ModelScript(), ledger, tls=authority.context(host)) as fake:
            yield authority.environment(os.environ, {host: fake.address}), ledger


async def run(*command: str, environment: dict[str, str], cwd: Path | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, env=environment, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(30):
        output, _ = await process.communicate()
    return output.decode().strip()


@pytest.mark.parametrize("client", IN_PYTHON)
def test_a_python_client_reaches_the_fake(client: str) -> None:
    async def check() -> None:
        async with intercepted() as (environment, ledger):
            environment["PYTHONPATH"] = str(PYTHON_AGENT_DIR)
            assert await run(sys.executable, "-c", IN_PYTHON[client], environment=environment) == "200"
            assert ledger.seen("models") + ledger.seen("realtime") == 1

    asyncio.run(check())


@pytest.mark.parametrize("client", IN_NODE)
def test_a_node_client_reaches_the_fake(client: str, node_modules: Path, tmp_path: Path) -> None:
    async def check() -> None:
        async with intercepted() as (environment, ledger):
            environment["NODE_OPTIONS"] = f"--require={NODE_AGENT}"
            script = node_modules / f".{client}-intercepted.mjs"  # next to the packages that it imports
            script.write_text(IN_NODE[client])
            try:
                assert await run("node", str(script), environment=environment) == "200"
            finally:
                script.unlink()
            assert ledger.seen("models") + ledger.seen("realtime") == 1

    asyncio.run(check())


def test_the_authority_is_trusted_for_the_intercepted_host_alone() -> None:
    async def check() -> None:
        async with intercepted() as (environment, _):
            host, _, port = environment[VARIABLE].partition("=")[2].rpartition(":")
            context = ssl.create_default_context(cafile=environment[CA_VARIABLE])
            reader, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=OPENAI)
            writer.close()
            with pytest.raises(ssl.SSLCertVerificationError):
                await asyncio.open_connection(host, int(port), ssl=context, server_hostname="example.com")
            del reader

    asyncio.run(check())


def test_the_authority_may_not_vouch_for_another_host() -> None:
    async def check() -> None:
        with CertificateAuthority([OPENAI]) as authority:
            forged = authority.context("example.com")  # signed by the same key, outside of its constraints
            server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", 0, ssl=forged)
            async with server:
                port = server.sockets[0].getsockname()[1]
                environment = authority.environment({}, {})
                context = ssl.create_default_context(cafile=environment[CA_VARIABLE])
                with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree"):
                    await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="example.com")

    asyncio.run(check())


def test_no_key_and_no_certificate_stays_on_disk() -> None:
    with CertificateAuthority([OPENAI, TWILIO]) as authority:
        authority.context(OPENAI)
        folder = Path(authority.environment({}, {})[CA_VARIABLE]).parent
        assert [path.name for path in folder.iterdir()] == ["ca.pem"]
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_a_host_that_no_fake_stands_for_is_refused() -> None:
    with pytest.raises(
        UsageError, match=r"intercept: expected api.openai.com or api.twilio.com, found 'example.com'"
    ):
        CertificateAuthority(["example.com"])
