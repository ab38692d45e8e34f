"""The SDK with an `httpx` client, and no socket: respx routes from the handlers that the server has."""

import asyncio
from typing import Any, cast

import httpx
import openai
import pytest
import respx

from leakline.fakes.openai import ModelScript
from leakline.fakes.openai.in_process import serve
from leakline.fakes.openai.speech import spoken, wav

ASK: list[Any] = [{"role": "user", "content": "Open?"}]


def test_a_sync_client_chats_streams_uploads_and_errs() -> None:
    with respx.mock() as router, httpx.Client() as http:
        route = serve(router, ModelScript(chat=("Yes.", "No, sir."), hears=("Two burgers.",)))
        client = openai.OpenAI(api_key="k", http_client=cast("Any", http), max_retries=0)
        chat = client.chat.completions
        assert chat.create(model="m", messages=ASK).choices[0].message.content == "Yes."
        chunks = chat.create(model="m", messages=ASK, stream=True)
        assert "".join(c.choices[0].delta.content or "" for c in chunks) == "No, sir."
        heard = client.audio.transcriptions.create(model="whisper-1", file=("a.wav", wav(spoken(0.5, "pcm"))))
        assert heard.text == "Two burgers."
        assert client.models.list().data[0].id == "gpt-realtime"
        with pytest.raises(openai.BadRequestError) as wrong:
            chat.create(model="m", messages=[])
        assert (wrong.value.code, wrong.value.request_id[:4]) == ("empty_array", "req_")  # type: ignore[index]
        with pytest.raises(openai.NotFoundError):
            client.get("/nothing", cast_to=object)
        assert route.call_count == 6


@pytest.mark.parametrize("base_url", ["https://api.openai.com/v1", "https://proxy.example/openai/v1"])
def test_an_async_client_does_too_at_any_address(base_url: str) -> None:
    async def main() -> str | None:
        with respx.mock() as router:
            serve(router, ModelScript(), base_url=base_url)
            async with httpx.AsyncClient() as http:
                client = openai.AsyncOpenAI(api_key="k", base_url=base_url, http_client=cast("Any", http))
                done = await client.chat.completions.create(model="m", messages=ASK)
                return done.choices[0].message.content

    assert asyncio.run(main()) == "OK."
