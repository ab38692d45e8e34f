"""How Twilio's own end fails, met by a plain `websockets` server and a plain HTTP server over real sockets."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from leakline.fakes.faults import Fault, FaultError, FaultPlan, Rule, parse_rule
from leakline.fakes.ledger import Ledger
from leakline.fakes.twilio import CallEnd, CallParties, Pace, Phone, PhoneCall, StreamCaller, StreamIds, failing
from leakline.harness.drive.scripted_call import ScriptedCall
from leakline.scenarios import Pause, Scenario


def plan_of(rule: str) -> FaultPlan:
    return FaultPlan([parse_rule(rule)], gone_s=0.5)


def silent() -> ScriptedCall:
    return ScriptedCall(Scenario("silent", Pause(2.0)), StreamIds.numbered(1))


class Server:
    """Reads until the caller has gone."""

    def __init__(self) -> None:
        self.got: list[str] = []
        self.ending: ConnectionClosed | None = None
        self.lasted_s = 0.0

    async def __call__(self, connection: ServerConnection) -> None:
        began = time.monotonic()
        try:
            while True:
                self.got.append(str(await connection.recv()))
        except ConnectionClosed as closed:
            self.ending = closed
            self.lasted_s = time.monotonic() - began


def stream(rule: str, server: Callable[[ServerConnection], Awaitable[None]]) -> tuple[CallEnd, Ledger]:
    ledger = Ledger()

    async def one() -> CallEnd:
        async with serve(server, "127.0.0.1", 0, close_timeout=0.2) as listening:
            port = next(iter(listening.sockets)).getsockname()[1]
            caller = StreamCaller(f"ws://127.0.0.1:{port}", ledger, pace=Pace(50.0), faults=plan_of(rule))
            async with asyncio.timeout(20):
                end = await caller.call(silent(), "CA1")
            await asyncio.sleep(0.1)
            return end

    return asyncio.run(one()), ledger


def code(closed: ConnectionClosed | None) -> int | None:
    return closed.rcvd.code if closed is not None and closed.rcvd is not None else None


def test_a_stream_is_closed_with_a_code_at_a_message_of_the_callers() -> None:
    server = Server()
    end, ledger = stream("close(code=1008)@media-stream/media", server)
    assert end == CallEnd("caller", "fault close")
    assert code(server.ending) == 1008
    assert len(server.got) == 2  # connected and start
    assert not ledger.still_open()


@pytest.mark.parametrize("rule", ["reset@media-stream/open", "cut@media-stream/start", "reset@media-stream/stop"])
def test_a_stream_ends_without_a_close_frame(rule: str) -> None:
    server = Server()
    end, ledger = stream(rule, server)
    assert end.kind == "caller"
    assert server.ending is not None
    assert code(server.ending) is None
    assert not ledger.still_open()


def test_a_silent_caller_hears_on_and_is_reset_after_a_while() -> None:
    server = Server()
    end, _ = stream("black_hole@media-stream/media", server)
    assert end == CallEnd("caller", "fault black_hole")
    assert server.lasted_s >= 0.4
    assert code(server.ending) is None


def test_a_half_open_caller_reads_nothing_more() -> None:
    async def flood(connection: ServerConnection) -> None:
        await connection.recv()
        blocked.append(False)
        try:
            async with asyncio.timeout(0.3):
                while True:
                    await connection.send("x" * 200_000)
        except TimeoutError:
            blocked[0] = True

    blocked: list[bool] = []
    end, _ = stream("half_open@media-stream/start", flood)
    assert end == CallEnd("caller", "fault half_open")
    assert blocked == [True]


def test_a_slow_reader_gives_back_pressure_and_the_call_goes_on() -> None:
    took_s: list[float] = []
    server = Server()

    async def much_to_say(connection: ServerConnection) -> None:
        began = time.monotonic()
        for _ in range(50):
            await connection.send("x" * 200_000)
        took_s.append(time.monotonic() - began)
        await server(connection)

    end, _ = stream("slow_read(seconds=0.6)@media-stream/open", much_to_say)
    assert end == CallEnd("caller", "hung up")
    assert took_s[0] >= 0.5
    assert len(server.got) == 103


def test_garbled_and_oversize_messages_of_a_caller() -> None:
    server = Server()
    stream("malformed@media-stream/start", server)
    assert server.got[1].startswith('{"event":"start"')
    assert not server.got[1].endswith("}")
    server = Server()
    stream("oversize@media-stream/start", server)
    assert server.ending is not None
    assert server.ending.sent is not None
    assert server.ending.sent.code == 1009


@pytest.mark.parametrize("rule", ["reset@media-stream/request", "black_hole@media-stream/request"])
def test_a_caller_that_fails_before_the_handshake_is_a_refused_call(rule: str) -> None:
    server = Server()
    end, ledger = stream(rule, server)
    assert end.kind == "refused"
    assert "fault" in end.detail
    assert server.got == []
    assert not ledger.still_open()


def phone_call(rule: str, status_callback: bool = False) -> tuple[PhoneCall, list[bytes]]:
    """A call to a server that answers `<Hangup/>`, and what arrived on each connection."""
    arrived: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(arrived)
        arrived.append(b"")
        body = b"<Response><Hangup/></Response>"
        try:
            async with asyncio.timeout(2):
                while chunk := await reader.read(65536):
                    arrived[number] += chunk
                    head, _, form = arrived[number].partition(b"\r\n\r\n")
                    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"-1")
                    if len(form) == length:
                        writer.write(
                            b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nConnection: close\r\n"
                            b"Content-Length: %d\r\n\r\n" % len(body)
                        )
                        writer.write(body)
                        arrived[number] = arrived[number].replace(b"\r\n\r\n", b"\r\n\r\n!", 1)
        except (OSError, TimeoutError):
            pass
        finally:
            writer.close()

    async def one() -> PhoneCall:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/voice"
            callback = f"{url}-status" if status_callback else ""
            phone = Phone(url, Ledger(), CallParties(), status_callback=callback, faults=plan_of(rule))
            async with asyncio.timeout(20):
                made = await phone.call(lambda _: silent(), StreamIds.numbered(1))
            await asyncio.sleep(0.1)
            return made

    return asyncio.run(one()), arrived


@pytest.mark.parametrize(
    ("rule", "sent"),
    [
        ("reset@webhook", "nothing"),
        ("black_hole@webhook", "nothing"),
        ("cut@webhook/chunk", "half"),
        ("half_open@webhook/response", "all"),
    ],
)
def test_a_webhook_that_fails_on_twilios_side_fails_the_call(rule: str, sent: str) -> None:
    made, arrived = phone_call(rule)
    assert made.status == "failed"
    assert "fault" in made.problems[0]
    assert len(arrived) == 1
    if sent == "nothing":
        assert arrived == [b""]
    elif sent == "half":
        assert arrived[0].startswith(b"POST /voice HTTP/1.1")
        assert b"CallSid=CA" not in arrived[0] or b"ToCountry" not in arrived[0]
    else:
        assert b"CallSid=CA" in arrived[0]


def test_a_late_webhook_is_a_call_that_goes_on() -> None:
    made, arrived = phone_call("latency(seconds=0.2)@webhook")
    assert (made.status, made.problems, len(arrived)) == ("completed", [], 1)


def test_a_status_callback_that_fails_is_a_problem_and_the_call_goes_on() -> None:
    made, _ = phone_call("reset@status-callback x1", status_callback=True)
    assert made.status == "completed"
    assert len(made.problems) == 1


@pytest.mark.parametrize("kind", ["status", "refuse"])
def test_a_fault_of_an_endpoint_that_answers_cannot_strike_one_that_calls(kind: str) -> None:
    with pytest.raises(FaultError, match=f"{kind}: expected an endpoint that answers, found 'webhook'"):
        parse_rule(f"{kind}@webhook")
    plan = FaultPlan([parse_rule(f"{kind}@*")])
    assert plan.draw("webhook", "request") is None
    assert isinstance(plan.draw("chat.completions", "request"), Fault)
    assert plan.has_struck
    assert [str(rule) for rule, _ in plan.struck] == [f"{kind}@*/request"]


def test_a_server_that_is_not_there_is_an_error_of_the_network() -> None:
    plan = FaultPlan([Rule(parse_rule("reset@webhook").fault, on="webhook")])
    with pytest.raises(OSError, match="Connect call failed"):
        asyncio.run(failing.strike_request(plan, "webhook", "http://127.0.0.1:9/voice", "POST", {}, {}))
