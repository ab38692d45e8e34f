import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leakline.fakes.twilio import twiml
from leakline.fakes.twilio.flow import MOST_DOCUMENTS, CallFlow, End, Fetch, Open, Wait
from leakline.fakes.twilio.twiml import TwimlError, parse

BASE = "http://127.0.0.1:5050/voice"


def document(*verbs: str) -> str:
    return f'<?xml version="1.0" encoding="UTF-8"?><Response>{"".join(verbs)}</Response>'


def flow(*verbs: str, digits: tuple[str, ...] = ()) -> CallFlow:
    made = CallFlow(digits=digits)
    made.document(parse(document(*verbs)), BASE)
    return made


def test_a_connected_stream_has_its_parameters() -> None:
    (stream,) = parse(
        document(
            '<Connect action="/after"><Stream url="wss://x/media" name="a">'
            '<Parameter name="table" value="4"/></Stream></Connect>'
        )
    )
    assert stream == twiml.Stream(
        "wss://x/media", bidirectional=True, parameters={"table": "4"}, name="a", action="/after"
    )


def test_verbs_run_in_order_and_the_call_ends_with_its_document() -> None:
    call = flow("<Say>Hello there, caller.</Say>", '<Pause length="2"/>', "<Play>http://x/a.mp3</Play>")
    assert [call.next() for _ in range(4)] == [
        Wait(pytest.approx(0.9), "say"),  # type: ignore[arg-type]
        Wait(2.0, "pause"),
        Wait(1.0, "play"),
        End("completed"),
    ]


def test_hangup_reject_and_redirect_end_the_document() -> None:
    assert flow("<Hangup/>", "<Say>no</Say>").next() == End("completed")
    assert flow('<Reject reason="busy"/>').next() == End("busy")
    assert flow("<Reject/>").next() == End("rejected")
    redirect = flow('<Redirect method="GET">../next?x=1</Redirect>', "<Say>no</Say>")
    assert redirect.next() == Fetch("http://127.0.0.1:5050/next?x=1", "GET")
    assert redirect.next() == End("completed")


def test_gather_gives_the_callers_digits_or_waits_for_none() -> None:
    verbs = ('<Gather action="/keys" numDigits="2" timeout="3"><Say>Press</Say></Gather>', "<Say>Bye now.</Say>")
    pressed = flow(*verbs, digits=("123#",))
    assert [pressed.next(), pressed.next()] == [
        Wait(pytest.approx(0.3), "say"),  # type: ignore[arg-type]
        Fetch("http://127.0.0.1:5050/keys", "POST", {"Digits": "12"}),
    ]
    silent = flow(*verbs)
    assert [action.why for action in (silent.next(), silent.next(), silent.next()) if isinstance(action, Wait)] == [
        "say",
        "gather",
        "say",
    ]
    empty = flow('<Gather action="/keys" timeout="1" actionOnEmptyResult="true"/>')
    assert [empty.next(), empty.next()] == [
        Wait(1.0, "gather"),
        Fetch("http://127.0.0.1:5050/keys", "POST", {"Digits": ""}),
    ]


def test_a_stream_that_ended_asks_for_its_action_or_goes_on() -> None:
    call = flow('<Connect action="/done"><Stream url="ws://x/m"/></Connect>', "<Say>no</Say>")
    opened = call.next()
    assert isinstance(opened, Open)
    call.stream_ended(opened.stream)
    assert call.next() == Fetch("http://127.0.0.1:5050/done", "POST")
    plain = flow('<Start><Stream url="ws://x/m" track="both_tracks"/></Start>', "<Hangup/>")
    started = plain.next()
    assert isinstance(started, Open)
    assert isinstance(started.stream, twiml.Stream)
    assert (started.stream.bidirectional, started.stream.track) == (False, "both_tracks")
    assert plain.next() == End("completed")


def test_dial_is_not_answered_and_unknown_verbs_are_reported() -> None:
    call = flow('<Enqueue>x</Enqueue><Dial action="/after"><Number>+1555</Number></Dial>')
    assert call.next() == Wait(1.0, "dial")
    assert call.next() == Fetch("http://127.0.0.1:5050/after", "POST", {"DialCallStatus": "no-answer"})
    assert call.unknown == ["Enqueue"]


def test_documents_that_lead_in_a_circle_end_the_call() -> None:
    call = CallFlow()
    for _ in range(MOST_DOCUMENTS + 1):
        call.document(parse(document("<Redirect>/voice</Redirect>")), BASE)
    assert call.next() == End("failed")


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("<Response>", "text/xml", 12100),
        ("<Reply/>", "text/xml", 12100),
        ("<!DOCTYPE x [<!ENTITY a 'b'>]><Response/>", "text/xml", 12100),
        ("<Response/>", "application/json", 12300),
        ("<Response>" + " " * 70_000 + "</Response>", "text/xml", 11750),
        ('<Response><Pause length="long"/></Response>', "text/xml", 12200),
        ('<Response><Connect><Stream url="http://x"/></Connect></Response>', "text/xml", 31921),
    ],
)
def test_a_document_that_twilio_would_refuse_has_its_code(text: str, kind: str, code: int) -> None:
    with pytest.raises(TwimlError) as refused:
        parse(text, kind)
    assert refused.value.code == code


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=80) | st.binary(max_size=80))
def test_no_document_breaks_the_parser(text: str | bytes) -> None:
    try:
        verbs = parse(text)
    except TwimlError:
        return
    call = CallFlow()
    call.document(verbs, BASE)
    call.next()
