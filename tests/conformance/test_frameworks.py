"""Frameworks that voice servers are built on, unmodified, in an environment of their own, against the fakes."""

import asyncio
import json
import os
import ssl
import subprocess
from pathlib import Path
from typing import Any

import trustme

from leakline.fakes.ledger import Ledger
from leakline.fakes.openai import FunctionCall, ModelScript, OpenAIServer, Turn
from leakline.harness.drive.telephone import CallResult, running
from leakline.harness.server.ports import free_port
from leakline.harness.server.process import Sut
from leakline.scenarios import Agent, HangUp, Listen, Say, Scenario

SUTS = Path(__file__).parents[1] / "suts"
CALL = FunctionCall("add_to_cart", item="burger", quantity=2)


async def output_of(command: list[str], environment: dict[str, str], cwd: Path | None = None) -> Any:
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environment},
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    return json.loads(out.decode().splitlines()[-1])


def test_openai_agents_talks_and_calls_its_tool(suts_python: str) -> None:
    async def main() -> tuple[Any, Ledger]:
        script = ModelScript(turns=(Turn("", calls=(CALL,)), Turn("Two burgers it is.", seconds=0.5)))
        ledger = Ledger()
        async with OpenAIServer(script, ledger, speed=10.0) as server:
            environment = {"OPENAI_API_KEY": "k", "OPENAI_REALTIME_URL": server.realtime_url}
            return await output_of([suts_python, str(SUTS / "agents_client.py")], environment), ledger

    found, ledger = asyncio.run(main())
    assert "error" not in found["kinds"]
    assert found["kinds"][-1] == "audio_end"
    assert {"tool_start", "tool_end", "history_added"} <= set(found["kinds"])
    assert found["cart"] == [["burger", 2]]
    assert found["audio_bytes"] == 4000  # half a second of mu-law
    assert [c.ending for c in ledger.ended("realtime")] == ["closed 1000"]


def test_pipecat_answers_a_call_between_both_fakes(suts_python: str, tmp_path: Path) -> None:
    scenario = Scenario(
        "pipecat",
        Agent("Hello, welcome to the Grill.", seconds=0.6),
        Listen(),
        Say("Two burgers, please.", seconds=0.6),
        Agent("Two burgers it is.", seconds=0.6),
        Listen(),
        HangUp(),
    )

    async def main() -> tuple[CallResult, Ledger]:
        port = free_port()
        async with running(scenario, speed=1.0) as fakes:
            command = (suts_python, str(SUTS / "pipecat_server.py"), str(port))
            async with Sut(command, {**os.environ, **fakes.environment}, tmp_path / "log") as sut:
                await sut.until_listening("127.0.0.1", port, 60.0)
                result = await fakes.telephone.call(f"ws://127.0.0.1:{port}/media", scenario)
                async with asyncio.timeout(10):
                    while fakes.ledger.still_open():
                        await asyncio.sleep(0.05)
            return result, fakes.ledger

    result, ledger = asyncio.run(main())
    assert (result.failure, result.problems, result.end.kind) == ("", (), "caller")
    assert result.heard_s >= 1.1
    (session,) = ledger.ended("realtime")
    assert session.ending == "closed 1000"


def test_the_node_sdk_uses_every_endpoint_over_tls(node_modules: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    script = ModelScript(
        turns=(Turn("Hello.", seconds=0.2),), hears=("Two burgers.",), chat=(Turn("Coming up.", calls=(CALL,)),)
    )

    async def main() -> Any:
        async with OpenAIServer(script, Ledger(), speed=20.0, tls=context) as server:
            environment = {
                "OPENAI_API_KEY": "k",
                "OPENAI_BASE_URL": server.base_url,
                "NODE_EXTRA_CA_CERTS": str(ca),
            }
            return await output_of(["node", "client.mjs"], environment, cwd=node_modules)

    assert asyncio.run(main()) == {
        "chat": "Coming up.",
        "streamed": "Coming up.",
        "calls": [["add_to_cart", {"item": "burger", "quantity": 2}]],
        "response": "Coming up.",
        "responseEvents": ["response.created", "response.completed"],
        "wav": "RIFF",
        "transcript": "Two burgers.",
        "models": 11,
        "embedding": 1536,
        "error": ["BadRequestError", 400, "empty_array", "messages"],
        "realtime": ["session.created", True, "response.done"],
    }
