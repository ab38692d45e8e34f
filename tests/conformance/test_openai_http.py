"""The official `openai` client against the fake, over real HTTP; answers are checked against the SDK's own types."""

import io
import json
from collections.abc import Callable
from typing import Any

import av
import openai
import pytest
from openai.types.audio import TranscriptionVerbose
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from leakline.fakes.ledger import Ledger
from leakline.fakes.openai import ModelScript
from leakline.fakes.openai.speech import CONTENT_TYPES, spoken, wav

Use = Callable[..., Any]
ASK: list[Any] = [{"role": "user", "content": "Two burgers and a cola."}]
ADD: dict[str, Any] = {
    "name": "add_to_cart",
    "parameters": {
        "type": "object",
        "properties": {"item": {"type": "string"}, "quantity": {"type": "integer"}},
        "required": ["item"],
    },
}
PAY: dict[str, Any] = {
    "name": "pay",
    "parameters": {"type": "object", "properties": {"cash": {"type": "boolean"}}, "required": ["cash"]},
}
CHAT_TOOLS: list[Any] = [{"type": "function", "function": tool} for tool in (ADD, PAY)]
RESPONSE_TOOLS: list[Any] = [{"type": "function", "strict": False, **tool} for tool in (ADD, PAY)]
WAV = wav(spoken(1.5, "pcm"))


def strictly(kind: Any, value: openai.BaseModel) -> None:
    """What came over the wire has every field that the SDK's type demands, of its type."""
    TypeAdapter(kind).validate_json(value.to_json(exclude_unset=True), strict=True)


def test_chat_says_its_script_and_counts_tokens(use: Use) -> None:
    async def work(client: openai.AsyncOpenAI, _: Ledger) -> ChatCompletion:
        return await client.chat.completions.create(model="gpt-4o-mini", messages=ASK)

    done = use(work)
    strictly(ChatCompletion, done)
    assert (done.choices[0].message.content, done.choices[0].finish_reason) == ("Let me put that in.", "stop")
    assert done.choices[0].message.tool_calls is None
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens


def test_chat_calls_tools_in_parallel_whole_and_streamed(use: Use) -> None:
    async def work(client: openai.AsyncOpenAI, _: Ledger) -> tuple[Any, Any, Any]:
        whole = await client.chat.completions.create(model="gpt-4o-mini", messages=ASK, tools=CHAT_TOOLS)
        one = await client.chat.completions.create(
            model="gpt-4o-mini", messages=ASK, tools=CHAT_TOOLS, parallel_tool_calls=False
        )
        async with client.chat.completions.stream(model="gpt-4o-mini", messages=ASK, tools=CHAT_TOOLS) as stream:
            async for event in stream:
                if event.type == "chunk":
                    strictly(ChatCompletionChunk, event.chunk)
            return whole, one, await stream.get_final_completion()

    whole, one, streamed = use(work)
    strictly(ChatCompletion, whole)
    for done in (whole, streamed):
        assert done.choices[0].finish_reason == "tool_calls"
        calls = [(c.function.name, json.loads(c.function.arguments)) for c in done.choices[0].message.tool_calls]
        assert calls == [("add_to_cart", {"item": "burger"}), ("add_to_cart", {"item": "cola"})]
        assert len({c.id for c in done.choices[0].message.tool_calls}) == 2
    assert len(one.choices[0].message.tool_calls) == 1


def test_a_demanded_tool_is_called_with_arguments_that_fit_and_none_is_none(use: Use) -> None:
    async def work(client: openai.AsyncOpenAI, _: Ledger) -> tuple[Any, Any, Any]:
        create = client.chat.completions.create
        named: Any = {"type": "function", "function": {"name": "pay"}}
        return (
            await create(model="m", messages=ASK, tools=CHAT_TOOLS, tool_choice=named),
            await create(model="m", messages=ASK, tools=CHAT_TOOLS, tool_choice="required"),
            await create(model="m", messages=ASK, tools=CHAT_TOOLS, tool_choice="none"),
        )

    named, required, none = use(work, script=ModelScript())
    assert named.choices[0].message.tool_calls[0].function.name == "pay"
    assert json.loads(named.choices[0].message.tool_calls[0].function.arguments) == {"cash": True}
    assert json.loads(required.choices[0].message.tool_calls[0].function.arguments) == {"item": "text"}
    assert none.choices[0].message.tool_calls is None


class Item(BaseModel):
    name: str
    quantity: int


class Order(BaseModel):
    items: list[Item]
    paid: bool | None


def test_structured_output_fits_the_schema_on_both_apis(use: Use) -> None:
    async def work(client: openai.AsyncOpenAI, _: Ledger) -> tuple[Any, Any, Any]:
        return (
            await client.chat.completions.parse(model="gpt-4o-mini", messages=ASK, response_format=Order),
            await client.responses.parse(model="gpt-4o-mini", input="Two burgers.", text_format=Order),
            await client.chat.completions.create(
                model="gpt-4o-mini", messages=ASK, response_format={"type": "json_object"}
            ),
        )

    chat, response, any_object = use(work, script=ModelScript())
    assert chat.choices[0].message.parsed == Order(items=[Item(name="text", quantity=1)], paid=True)
    assert response.output_parsed == chat.choices[0].message.parsed
    assert json.loads(any_object.choices[0].message.content) == {}


def test_a_scripted_json_answer_is_given_as_it_is(use: Use) -> None:
    said = '{"items": [{"name": "burger", "quantity": 2}], "paid": null}'

    async def work(client: openai.AsyncOpenAI, _: Ledger) -> Any:
        return await client.chat.completions.parse(model="gpt-4o-mini", messages=ASK, response_format=Order)

    assert use(work, script=ModelScript(chat=(said,))).choices[0].message.content == said


def test_usage_comes_in_a_chunk_of_its_own_when_asked_for(use: Use) -> None:
    async def work(client: openai.AsyncOpenAI, _: Ledger) -> list[ChatCompletionChunk]:
        stream = await client.chat.completions.create(
            model="gpt-4o-mini", messages=ASK, stream=True, stream_options={"include_usage": True}
        )
        return [chunk async for chunk in stream]

    *rest, last = use(work)
    assert last.choices == []
    assert last.usage.total_tokens > 0
    assert all(chunk.usage is None for chunk in rest)


def test_responses_whole_and_streamed_with_text_and_calls(use: Use) -> None:
    async def work(client: openai.AsyncOpenAI, _: Ledger) -> tuple[Any, list[Any]]:
        whole = await client.responses.create(model="gpt-4o", input="Two burgers.", tools=RESPONSE_TOOLS)
        stream = await client.responses.create(model="gpt-4o", input=ASK, tools=RESPONSE_TOOLS, stream=True)
        return whole, [event async for event in stream]

    whole, events = use(work)
    strictly(Response, whole)
    assert whole.output_text == "Let me put that in."
    assert [item.type for item in whole.output] == ["message", "function_call", "function_call"]
    for event in events:
        strictly(ResponseStreamEvent, event)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [events[0].type, events[1].type, events[-1].type] == [
        "response.created",
        "response.in_progress",
        "response.completed",
    ]
    said = "".join(e.delta for e in events if e.type == "response.output_text.delta")
    assert said == "Let me put that in."
    arguments = [json.loads(e.arguments) for e in events if e.type == "response.function_call_arguments.done"]
    assert arguments == [{"item": "burger"}, {"item": "cola"}]
    assert events[-1].response.output_text == said


@pytest.mark.parametrize("fmt", ["json", "verbose_json", "text", "srt", "vtt"])
def test_transcriptions_in_every_format(use: Use, fmt: Any) -> None:
    async def work(client: openai.AsyncOpenAI, _: Ledger) -> Any:
        return await client.audio.transcriptions.create(
            model="whisper-1", file=("call.wav", WAV), response_format=fmt, timestamp_granularities=["word"]
        )

    said = use(work)
    if fmt == "json":
        assert said.text == "Two burgers, please."
        assert said.usage.seconds == 1.5
    elif fmt == "verbose_json":
        strictly(TranscriptionVerbose, said)
        assert (said.duration, said.language, said.segments[0].end) == (1.5, "english", 1.5)
        assert [w.word for w in said.words] == ["Two", "burgers,", "please."]
    elif fmt == "text":
        assert said == "Two burgers, please.\n"
    else:
        stamp = "00:00:00,000 --> 00:00:01,500" if fmt == "srt" else "00:00:00.000 --> 00:00:01.500"
        assert stamp in said
        assert "Two burgers, please." in said
        assert said.startswith("1\n" if fmt == "srt" else "WEBVTT\n\n")


def test_a_transcription_streams_word_by_word(use: Use) -> None:
    async def work(client: openai.AsyncOpenAI, _: Ledger) -> list[Any]:
        stream = await client.audio.transcriptions.create(
            model="gpt-4o-mini-transcribe", file=("call.mp3", spoken(1.0, "mp3")), stream=True
        )
        return [event async for event in stream]

    *deltas, done = use(work)
    assert "".join(event.delta for event in deltas) == done.text == "Two burgers, please."
    assert done.usage.total_tokens > 0


@pytest.mark.parametrize("fmt", list(CONTENT_TYPES))
def test_speech_in_every_format_is_audio_of_the_right_length(use: Use, fmt: Any) -> None:
    async def work(client: openai.AsyncOpenAI, _: Ledger) -> bytes:
        create = client.audio.speech.with_streaming_response.create
        async with create(
            model="tts-1", voice="alloy", input="One two three four five.", response_format=fmt
        ) as response:
            assert response.headers["content-type"] == CONTENT_TYPES[fmt]
            return b"".join([chunk async for chunk in response.iter_bytes()])

    sound = use(work)
    if fmt == "pcm":
        assert len(sound) == round(1.5 * 24_000) * 2
        return
    with av.open(io.BytesIO(sound), "r") as file:
        samples = sum(frame.samples / frame.sample_rate for frame in file.decode(audio=0))
    assert samples == pytest.approx(1.5, abs=0.1)


def test_speech_streams_as_events(use: Use) -> None:
    async def work(client: openai.AsyncOpenAI, _: Ledger) -> str:
        speech = await client.audio.speech.create(
            model="gpt-4o-mini-tts", voice="alloy", input="Hello.", response_format="wav", stream_format="sse"
        )
        return speech.text

    events = [json.loads(line.removeprefix("data: ")) for line in use(work).split("\n\n") if line]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert events[-1]["type"] == "speech.audio.done"


def test_models_embeddings_and_client_secrets(use: Use) -> None:
    async def work(client: openai.AsyncOpenAI, _: Ledger) -> tuple[Any, ...]:
        names = [model.id async for model in client.models.list()]
        embed = client.embeddings.create
        one = await embed(model="text-embedding-3-small", input="burger")
        two = await embed(model="text-embedding-3-small", input=["burger", "cola"], encoding_format="float")
        secret = await client.realtime.client_secrets.create(
            session={"type": "realtime", "model": "gpt-realtime", "instructions": "Be brief."}
        )
        return names, await client.models.retrieve(names[0]), one, two, secret

    names, model, one, two, secret = use(work)
    assert model.id == names[0] == "gpt-realtime"
    vector, again, other = one.data[0].embedding, two.data[0].embedding, two.data[1].embedding
    assert len(vector) == 1536
    assert vector == pytest.approx(again)
    assert sum(v * v for v in vector) == pytest.approx(1.0, abs=1e-4)
    assert vector != pytest.approx(other)
    assert secret.value.startswith("ek_")
    assert secret.session.instructions == "Be brief."


def test_answers_carry_the_services_headers(use: Use) -> None:
    async def work(client: openai.AsyncOpenAI, _: Ledger) -> tuple[Any, Any]:
        answer = await client.chat.completions.with_raw_response.create(model="m", messages=ASK)
        with pytest.raises(openai.BadRequestError) as wrong:
            await client.chat.completions.create(model="m", messages=[])
        return answer, wrong.value

    answer, wrong = use(work)
    assert answer.headers["x-request-id"].startswith("req_")
    assert int(answer.headers["x-ratelimit-remaining-requests"]) > 0
    assert answer.headers["x-ratelimit-reset-tokens"].endswith("ms")
    assert wrong.request_id.startswith("req_")
    assert wrong.request_id != answer.headers["x-request-id"]


@pytest.mark.parametrize(
    ("call", "error", "code", "param"),
    [
        (
            lambda c: c.chat.completions.create(model="m", messages=[]),
            openai.BadRequestError,
            "empty_array",
            "messages",
        ),
        (
            lambda c: c.chat.completions.create(model="m", messages=ASK, response_format={"type": "yaml"}),
            openai.BadRequestError,
            "invalid_value",
            "response_format.type",
        ),
        (
            lambda c: c.chat.completions.create(model="m", messages=ASK, tools=[{"type": "function"}]),
            openai.BadRequestError,
            "missing_required_parameter",
            "tools[0]",
        ),
        (
            lambda c: c.responses.create(model="m"),
            openai.BadRequestError,
            "missing_required_parameter",
            "input",
        ),
        (lambda c: c.models.retrieve("gpt-9"), openai.NotFoundError, "model_not_found", "model"),
        (
            lambda c: c.embeddings.create(model="m", input="x", dimensions=9000),
            openai.BadRequestError,
            "invalid_value",
            "dimensions",
        ),
        (
            lambda c: c.audio.speech.create(model="m", voice="alloy", input=""),
            openai.BadRequestError,
            "string_too_short",
            "input",
        ),
        (
            lambda c: c.audio.speech.create(model="m", voice="alloy", input="x", speed=9),
            openai.BadRequestError,
            "invalid_value",
            "speed",
        ),
        (
            lambda c: c.audio.transcriptions.create(model="whisper-1", file=("a.txt", b"x")),
            openai.BadRequestError,
            None,
            "file",
        ),
        (
            lambda c: c.audio.transcriptions.create(model="whisper-1", file=("a.wav", wav(b""))),
            openai.BadRequestError,
            "audio_too_short",
            "file",
        ),
        (
            lambda c: c.audio.transcriptions.create(
                model="gpt-4o-transcribe", file=("a.wav", WAV), response_format="srt"
            ),
            openai.BadRequestError,
            "unsupported_value",
            "response_format",
        ),
        (
            lambda c: c.realtime.client_secrets.create(session={"type": "realtime", "colour": 1}),
            openai.BadRequestError,
            "unknown_parameter",
            "session.colour",
        ),
        (lambda c: c.post("/nothing", cast_to=object), openai.NotFoundError, None, None),
    ],
)
def test_mistakes_raise_the_sdks_errors_with_code_and_parameter(
    use: Use, call: Callable[[Any], Any], error: type[openai.APIStatusError], code: str | None, param: str | None
) -> None:
    async def work(client: openai.AsyncOpenAI, _: Ledger) -> openai.APIStatusError:
        with pytest.raises(error) as raised:
            await call(client)
        await client.models.list()  # it stays up
        return raised.value

    raised = use(work)
    assert (raised.code, raised.param) == (code, param)
