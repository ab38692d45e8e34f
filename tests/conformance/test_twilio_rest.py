"""The official `twilio` SDK against the fake REST API, over real HTTP."""

import asyncio
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests
import trustme
from aiohttp import web
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from leakline.fakes.faults import FaultPlan, Reset, Rule, Status
from leakline.fakes.ledger import Ledger
from leakline.fakes.serving import HttpServer
from leakline.fakes.twilio import AnyStream, CallParties, Pace, StreamIds, TwilioRest
from leakline.harness.drive.scripted_call import ScriptedCall
from leakline.scenarios import Pause, Scenario

T = TypeVar("T")
PARTIES = CallParties(auth_token="secret", direction="outbound-api")
LONG = "<Response><Pause length='600'/></Response>"
SHORT = "<Response><Pause length='1'/></Response>"
NUMBERS = {"to": "+15005550001", "from_": "+15005550006"}


class ToTheFake(TwilioHttpClient):  # type: ignore[misc]
    """The SDK's own client, with the host of the API in its requests replaced."""

    def __init__(self, address: str) -> None:
        super().__init__()
        self._address = address

    def request(self, method: str, url: str, *arguments: Any, **options: Any) -> Any:
        return super().request(method, url.replace("https://api.twilio.com", self._address), *arguments, **options)


def silent() -> ScriptedCall:
    return ScriptedCall(Scenario("silent", Pause(1.0)), StreamIds.numbered(1))


def use(work: Callable[[Client], T], *rules: Rule, token: str = "secret") -> tuple[T, Ledger]:
    async def main() -> tuple[T, Ledger]:
        ledger = Ledger()

        def answer(_stream: AnyStream) -> ScriptedCall:
            return silent()

        async with TwilioRest(answer, ledger, PARTIES, Pace(20.0), FaultPlan(rules)) as rest:
            http = ToTheFake(rest.url)
            client = Client(PARTIES.account_sid, token, http_client=http)
            try:
                return await asyncio.to_thread(work, client), ledger
            finally:
                if http.session is not None:
                    http.session.close()

    return asyncio.run(main())


def until(client: Client, sid: str, status: str) -> Any:
    for _ in range(100):
        call = client.calls(sid).fetch()
        if call.status == status:
            return call
        asyncio.run(asyncio.sleep(0.02))
    raise AssertionError(f"still {call.status}, expected {status}")


def test_a_call_is_created_runs_and_completes() -> None:
    def work(client: Client) -> tuple[Any, Any, Any]:
        made = client.calls.create(**NUMBERS, twiml=SHORT, record=True)
        done = until(client, made.sid, "completed")
        (recording,) = client.calls(made.sid).recordings.list()
        assert client.recordings(recording.sid).fetch().call_sid == made.sid
        return made, done, recording

    (made, done, recording), ledger = use(work)
    assert (made.status, made.direction, made.sid[:2], len(made.sid)) == ("queued", "outbound-api", "CA", 34)
    assert (done.to, done._from) == (NUMBERS["to"], NUMBERS["from_"])
    assert done.end_time >= done.start_time
    assert (recording.status, recording.sid[:2]) == ("completed", "RE")
    assert ledger.seen("rest") >= 4
    assert not ledger.still_open("rest")


def test_a_call_under_way_is_hung_up_and_redirected() -> None:
    def work(client: Client) -> tuple[str, str]:
        hung = client.calls.create(**NUMBERS, twiml=LONG)
        until(client, hung.sid, "in-progress")
        ended = client.calls(hung.sid).update(status="completed")
        turned = client.calls.create(**NUMBERS, twiml=LONG)
        until(client, turned.sid, "in-progress")
        client.calls(turned.sid).update(twiml=SHORT)
        return ended.status, until(client, turned.sid, "completed").status

    assert use(work)[0] == ("completed", "completed")


@pytest.mark.parametrize(
    ("events", "posted"),
    [(None, ["completed"]), (["initiated", "answered", "completed"], ["initiated", "in-progress", "completed"])],
)
def test_the_status_callback_gets_the_events_that_were_asked_for(events: list[str] | None, posted: list[str]) -> None:
    async def main() -> list[str]:
        seen: list[str] = []

        async def status(request: web.Request) -> web.Response:
            seen.append(str((await request.post())["CallStatus"]))
            return web.Response()

        server = HttpServer([web.post("/status", status)], host="127.0.0.1", port=0, client_max_size=65536)
        await server.start()
        url = f"http://{server.address}/status"

        def work(client: Client) -> None:
            options = {} if events is None else {"status_callback_event": events}
            made = client.calls.create(**NUMBERS, twiml=SHORT, status_callback=url, **options)
            until(client, made.sid, "completed")

        try:
            await asyncio.to_thread(use, work)
        finally:
            await server.stop()
        return seen

    assert asyncio.run(main()) == posted


def test_calls_are_listed_by_status_in_pages_and_deleted() -> None:
    def work(client: Client) -> tuple[int, int, int]:
        for _ in range(5):
            until(client, client.calls.create(**NUMBERS, twiml=SHORT).sid, "completed")
        client.calls.create(**NUMBERS, twiml=LONG)
        everything = client.calls.list(page_size=2)
        over = client.calls.list(status="completed")
        assert client.calls(over[0].sid).delete()
        return len(everything), len(over), len(client.calls.list())

    assert use(work)[0] == (6, 5, 5)


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        (lambda c: c.calls.create(to="", from_="+15005550006", twiml=SHORT), 400, 21201),
        (lambda c: c.calls.create(to="+15005550001", from_="", twiml=SHORT), 400, 21213),
        (lambda c: c.calls.create(to="tomorrow", from_="+15005550006", twiml=SHORT), 400, 21211),
        (lambda c: c.calls.create(to="+15005550001", from_="me", twiml=SHORT), 400, 21212),
        (lambda c: c.calls.create(**NUMBERS), 400, 21205),
        (lambda c: c.calls.create(**NUMBERS, url="ftp://x"), 400, 21205),
        (lambda c: c.calls.create(**NUMBERS, twiml="<Say>"), 400, 21218),
        (lambda c: c.calls("CA" + "0" * 32).fetch(), 404, 20404),
        (lambda c: c.recordings("RE" + "0" * 32).fetch(), 404, 20404),
        (lambda c: c.messages("SM" + "0" * 32).fetch(), 404, 20404),
    ],
)
def test_mistakes_are_twilios_error_json(call: Callable[[Client], Any], status: int, code: int) -> None:
    def work(client: Client) -> TwilioRestException:
        with pytest.raises(TwilioRestException) as raised:
            call(client)
        return raised.value

    raised, _ = use(work)
    assert (raised.status, raised.code) == (status, code)


def test_a_wrong_token_is_not_let_in_and_a_call_that_is_over_is_not_changed() -> None:
    def wrong(client: Client) -> int:
        with pytest.raises(TwilioRestException) as raised:
            client.calls("CA" + "0" * 32).fetch()
        return int(raised.value.code)

    def over(client: Client) -> int:
        made = client.calls.create(**NUMBERS, twiml=SHORT)
        until(client, made.sid, "completed")
        with pytest.raises(TwilioRestException) as raised:
            client.calls(made.sid).update(twiml=LONG)
        return int(raised.value.code)

    assert use(wrong, token="other")[0] == 20003
    assert use(over)[0] == 21220


def test_the_api_fails_by_its_fault_plan_and_recovers() -> None:
    def work(client: Client) -> tuple[int, int]:
        with pytest.raises(TwilioRestException) as limited:
            client.calls.create(**NUMBERS, twiml=SHORT)
        with pytest.raises(requests.exceptions.ConnectionError):
            client.calls.create(**NUMBERS, twiml=SHORT)
        until(client, client.calls.create(**NUMBERS, twiml=SHORT).sid, "completed")
        return limited.value.status, limited.value.code

    rules = (Rule(Status(429), on="rest", times=1), Rule(Reset(), on="rest", nth=frozenset({1})))
    assert use(work, *rules)[0] == (429, 20429)


@pytest.mark.parametrize(
    ("path", "content_type", "status"),
    [
        ("Calls.json?Page=x", "text/plain", 400),
        ("Calls.json?Page=-5&PageSize=-1", "text/plain", 200),
        ("Calls.json", "multipart/form-data", 400),
        ("Calls/%00%ff.json", "text/plain", 404),
        ("../../../etc/passwd", "text/plain", 404),
    ],
)
def test_odd_requests_are_answered_with_error_json(path: str, content_type: str, status: int) -> None:
    def work(client: Client) -> int:
        url = f"https://api.twilio.com/2010-04-01/Accounts/{PARTIES.account_sid}/{path}"
        method = "POST" if "multipart" in content_type else "GET"
        response = client.http_client.request(
            method, url, auth=(PARTIES.account_sid, "secret"), headers={"Content-Type": content_type}, data="x"
        )
        return int(response.status_code)

    assert use(work)[0] == status


def test_the_api_is_served_over_tls_too(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))

    async def main() -> tuple[int, Any]:
        async with TwilioRest(lambda _: silent(), Ledger(), PARTIES, tls=context) as rest:
            url = f"{rest.url}/2010-04-01/Accounts/{PARTIES.account_sid}/Calls.json"
            account = (PARTIES.account_sid, PARTIES.auth_token)
            response = await asyncio.to_thread(requests.get, url, auth=account, verify=str(ca), timeout=5)
            return response.status_code, response.json()["calls"]

    assert asyncio.run(main()) == (200, [])


def test_a_call_that_the_api_makes_fails_as_the_rules_say() -> None:
    got: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            got.append(await reader.read())
        except ConnectionResetError:
            got.append(b"")
        writer.close()

    async def main() -> str:
        plan = FaultPlan([Rule(Reset(), on="webhook")])
        async with (
            await asyncio.start_server(listen, "127.0.0.1", 0) as server,
            TwilioRest(lambda _: silent(), Ledger(), PARTIES, Pace(20.0), plan) as rest,
        ):
            webhook = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/voice"
            client = Client(PARTIES.account_sid, PARTIES.auth_token, http_client=(http := ToTheFake(rest.url)))
            try:
                call = await asyncio.to_thread(client.calls.create, **NUMBERS, url=webhook)
                return str((await asyncio.to_thread(until, client, call.sid, "failed")).status)
            finally:
                if http.session is not None:
                    http.session.close()

    assert asyncio.run(main()) == "failed"
    assert got == [b""]  # connected, and reset before a word was said
