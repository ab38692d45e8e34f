"""Fakes that others can reach: they ask for a key."""

import asyncio

import aiohttp
import openai
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from leakline.fakes_command import _key_for
from leakline.harness.data.errors import UsageError
from leakline.harness.drive.telephone import API_KEY, Fakes, running
from leakline.scenarios import BUILT_IN

KEY = "a-key-of-ours"
ANYWHERE = "0.0.0.0"  # noqa: S104  (nothing is bound to it here)


async def models(fakes: Fakes, key: str) -> int:
    async with openai.AsyncOpenAI(api_key=key, base_url=fakes.openai.base_url, max_retries=0) as client:
        try:
            return len([model async for model in client.models.list()])
        except openai.AuthenticationError as error:
            return 0 if error.code == "invalid_api_key" else -1


async def realtime(fakes: Fakes, **how: object) -> bool:
    try:
        async with connect(fakes.openai.realtime_url, **how) as socket:  # type: ignore[arg-type]
            return b"session.created" in bytes(await socket.recv(decode=False))
    except InvalidStatus as error:
        return error.response.status_code != 401


async def ledger(fakes: Fakes, key: str) -> int:
    url = fakes.openai.base_url.removesuffix("/v1") + "/_leakline/ledger"
    async with aiohttp.ClientSession() as http, http.get(url, headers={"Authorization": f"Bearer {key}"}) as answer:
        return answer.status


async def calls(fakes: Fakes, token: str) -> int:
    account = fakes.twilio.parties.account_sid
    url = f"{fakes.twilio.url}/2010-04-01/Accounts/{account}/Calls.json"
    headers = {"Authorization": aiohttp.encode_basic_auth(account, token)}
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as answer:
        return answer.status


@pytest.mark.parametrize("given", [KEY, API_KEY])
def test_with_a_key_they_take_no_other(given: str) -> None:
    async def run() -> list[bool]:
        async with running(BUILT_IN["question"], key=KEY) as fakes:
            assert fakes.environment["OPENAI_API_KEY"] == KEY
            assert fakes.environment["TWILIO_AUTH_TOKEN"] == KEY
            return [
                bool(await models(fakes, given)),
                await realtime(fakes, additional_headers={"Authorization": f"Bearer {given}"}),
                await realtime(fakes, subprotocols=["realtime", f"openai-insecure-api-key.{given}"]),
                await ledger(fakes, given) == 200,
                await calls(fakes, given) == 200,
            ]

    assert asyncio.run(run()) == [given == KEY] * 5


def test_without_one_any_will_do_on_loopback() -> None:
    async def run() -> bool:
        async with running(BUILT_IN["question"]) as fakes:
            return await models(fakes, "whatever") > 0 and await ledger(fakes, "") == 200

    assert asyncio.run(run())


def test_where_others_reach_them_there_is_always_a_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert _key_for("127.0.0.2") == _key_for("::1") == ""
    assert capsys.readouterr().err == ""
    assert len(_key_for(ANYWHERE)) == 32
    assert _key_for(ANYWHERE) != _key_for("::")
    assert "can be reached from other machines" in capsys.readouterr().err
    with pytest.raises(UsageError, match=r"listen: expected an IP address such as 0\.0\.0\.0, found 'here'"):
        _key_for("here")
