"""A server built on the official `twilio` SDK, called by the fake: TwiML made by it, signatures checked by it."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from aiohttp import web
from twilio.request_validator import RequestValidator
from twilio.twiml.voice_response import Connect, Gather, Start, VoiceResponse

from leakline.fakes.ledger import Ledger
from leakline.fakes.serving import HttpServer
from leakline.fakes.twilio import AnyStream, CallParties, Pace, Phone, PhoneCall, StreamIds, machine_for, signature
from leakline.harness.drive.scripted_call import ScriptedCall
from leakline.scenarios import Agent, HangUp, Listen, Pause, Say, Scenario

PARTIES = CallParties(auth_token="12345")
IDS = StreamIds.numbered(3)
SHORT = Scenario("short", Say("Hello", seconds=0.2), HangUp())
PUBLIC = "wss://grill.example/media"

Answer = Callable[[str], VoiceResponse]


class Server:
    """A voice server that validates every request with the SDK."""

    def __init__(self, answers: Mapping[str, Answer]) -> None:
        self._answers = answers
        self._validator = RequestValidator(PARTIES.auth_token)
        self.forms: list[dict[str, str]] = []
        self.statuses: list[str] = []
        self.streams: list[list[Any]] = []
        self.http = HttpServer(
            [
                web.route("*", "/voice/{name}", self._voice),
                web.post("/status", self._status),
                web.get("/media", self._media),
            ],
            host="127.0.0.1",
            port=0,
            client_max_size=1024 * 1024,
        )

    def _check(self, request: web.Request, url: str, form: dict[str, str]) -> None:
        if not self._validator.validate(url, form, request.headers.get("X-Twilio-Signature", "")):
            raise web.HTTPForbidden

    async def _voice(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self._check(request, str(request.url), form)
        self.forms.append(form or dict(request.query))
        answer = self._answers[request.match_info["name"]](str(request.url))
        return web.Response(text=str(answer), content_type="text/xml")

    async def _status(self, request: web.Request) -> web.Response:
        form = {name: str(value) for name, value in (await request.post()).items()}
        self._check(request, str(request.url), form)
        self.statuses.append(form.get("StreamEvent") or f"{form['SequenceNumber']} {form['CallStatus']}")
        return web.Response(status=204)

    async def _media(self, request: web.Request) -> web.WebSocketResponse:
        self._check(request, PUBLIC, {})  # signed with the URL that the TwiML names
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        seen: list[Any] = []
        self.streams.append(seen)
        async for message in socket:
            event = json.loads(message.data)
            seen.append(event)
            if event.get("type") == "prompt" and "order" in event["voicePrompt"]:
                await socket.send_json({"type": "text", "token": "Two ", "last": False})
                await socket.send_json({"type": "text", "token": "burgers.", "last": True})
            elif event.get("type") == "prompt":
                await socket.send_json({"type": "end", "handoffData": '{"reason": "done"}'})
        return socket


def place(
    answers: Mapping[str, Answer], first: str = "first", scenario: Scenario = SHORT, digits: tuple[str, ...] = ()
) -> tuple[PhoneCall, Server]:
    async def main() -> tuple[PhoneCall, Server]:
        server = Server(answers)
        await server.http.start()
        try:
            at = f"http://{server.http.address}"
            phone = Phone(
                f"{at}/voice/{first}",
                Ledger(),
                parties=PARTIES,
                pace=Pace(20.0),
                status_callback=f"{at}/status",
                digits=digits,
            )

            def answer(stream: AnyStream) -> ScriptedCall:
                return ScriptedCall(scenario, IDS, speed=20.0, stream=machine_for(stream, IDS))

            async with asyncio.timeout(20):
                return await phone.call(answer, IDS), server
        finally:
            await server.http.stop()

    return asyncio.run(main())


def connect_stream(_url: str) -> VoiceResponse:
    response = VoiceResponse()
    response.say("Hold on.")
    connect = Connect()
    stream = connect.stream(url=PUBLIC)
    stream.parameter(name="table", value="4")
    response.append(connect)
    return response


def test_a_call_goes_from_webhook_to_stream_and_every_request_is_signed() -> None:
    call, server = place({"first": connect_stream})
    assert call.problems == []
    assert (call.status, [end.kind for end in call.streams]) == ("completed", ["caller"])
    assert server.statuses == ["0 initiated", "1 ringing", "2 in-progress", "3 completed"]
    assert call.callbacks == ["initiated", "ringing", "in-progress", "completed"]
    (form,) = server.forms
    assert (form["CallSid"], form["CallStatus"], form["Direction"]) == (IDS.call_sid, "ringing", "inbound")
    (seen,) = server.streams
    assert [event["event"] for event in seen] == ["connected", "start", *["media"] * 10, "stop"]
    assert seen[1]["start"]["customParameters"] == {"table": "4"}


def test_menus_are_gone_through_by_keys_redirects_and_get() -> None:
    def menu(_url: str) -> VoiceResponse:
        response = VoiceResponse()
        gather = Gather(action="/voice/chosen", num_digits=1, method="GET")
        gather.say("Press one.")
        response.append(gather)
        return response

    def chosen(_url: str) -> VoiceResponse:
        response = VoiceResponse()
        response.redirect("/voice/last")
        return response

    def last(_url: str) -> VoiceResponse:
        response = VoiceResponse()
        response.hangup()
        return response

    call, server = place({"first": menu, "chosen": chosen, "last": last}, digits=("1",))
    assert (call.status, call.problems) == ("completed", [])
    assert [form.get("Digits") for form in server.forms] == [None, "1", None]


def test_a_one_way_stream_runs_beside_the_verbs() -> None:
    def started(_url: str) -> VoiceResponse:
        response = VoiceResponse()
        start = Start()
        start.stream(url=PUBLIC, track="both_tracks", status_callback="/status")
        response.append(start)
        response.pause(length=4)
        return response

    call, server = place({"first": started}, scenario=Scenario("listen", Pause(60.0)))
    assert call.status == "completed"
    (seen,) = server.streams
    assert seen[1]["start"]["tracks"] == ["inbound", "outbound"]
    assert len(seen) > 40
    assert "stream-started" in server.statuses


def test_conversation_relay_talks_in_text_and_hands_over_at_its_end() -> None:
    def relay(_url: str) -> VoiceResponse:
        response = VoiceResponse()
        connect = Connect(action="/voice/after")
        relay = connect.conversation_relay(url=PUBLIC, welcome_greeting="Hi.")
        relay.parameter(name="table", value="4")
        response.append(connect)
        return response

    def after(_url: str) -> VoiceResponse:
        response = VoiceResponse()
        response.hangup()
        return response

    scenario = Scenario(
        "relay", Say("An order.", 0.4), Agent("Two burgers."), Listen(), Say("Bye.", 0.2), Pause(60.0)
    )
    call, server = place({"first": relay, "after": after}, scenario=scenario)
    assert (call.status, call.problems) == ("completed", [])
    (seen,) = server.streams
    assert [event["type"] for event in seen] == ["setup", "prompt", "prompt"]
    assert (seen[0]["callSid"], seen[0]["customParameters"]) == (IDS.call_sid, {"table": "4"})
    assert seen[1] == {"type": "prompt", "voicePrompt": "An order.", "lang": "en-US", "last": True}
    assert server.forms[1]["HandoffData"] == '{"reason": "done"}'


def test_a_rejected_call_is_busy_and_never_in_progress() -> None:
    def reject(_url: str) -> VoiceResponse:
        response = VoiceResponse()
        response.reject(reason="busy")
        return response

    call, server = place({"first": reject})
    assert call.status == "busy"
    assert [status.split()[1] for status in server.statuses] == ["initiated", "ringing", "busy"]


def test_a_webhook_that_fails_ends_the_call_with_twilios_code() -> None:
    call, _ = place({}, first="gone")
    assert call.status == "failed"
    assert "11200" in call.problems[0]


def test_verbs_that_the_fake_does_not_play_are_reported() -> None:
    def enqueue(_url: str) -> VoiceResponse:
        response = VoiceResponse()
        response.enqueue("support")
        return response

    call, _ = place({"first": enqueue})
    assert call.problems == ["the verb Enqueue is not played by the fake"]


@pytest.mark.parametrize("fields", [{}, {"CallSid": "CA1", "From": "+1 555", "Digits": "ä#"}])
def test_signatures_are_those_of_the_sdk(fields: dict[str, str]) -> None:
    url = "https://grill.example/voice?x=1&y=2"
    ours = signature("token", url, fields)
    assert ours == RequestValidator("token").compute_signature(url, fields)
    assert ours != signature("other", url, fields)
