import tracemalloc
from itertools import count

from leakline.fakes.ledger import EndReason, Ledger, reason_for_status


def test_what_has_not_ended_is_still_open() -> None:
    ledger = Ledger(clock=lambda: 5.0)
    first = ledger.opened("openai", "realtime", "127.0.0.1:1")
    second = ledger.opened("openai", "realtime", "127.0.0.1:2")
    ledger.closed(first, "closed 1000")
    assert [c.id for c in ledger.still_open("realtime")] == [second]
    (ended,) = ledger.ended("realtime")
    assert (ended.ending, ended.closed_at, ended.is_open) == ("closed 1000", 5.0, False)
    assert not ended.has_failed
    assert ledger.seen("realtime") == 2


def test_the_first_ending_counts() -> None:
    ledger = Ledger()
    entry = ledger.opened("openai", "chat.completions", "peer")
    ledger.closed(entry, "200")
    ledger.closed(entry, "dropped")
    assert [c.ending for c in ledger.ended()] == ["200"]


def test_what_has_failed_is_known_by_its_reason_and_not_by_its_words() -> None:
    ledger = Ledger()
    reasons = (reason_for_status(204), reason_for_status(404), EndReason.FAULT, EndReason.DROPPED)
    for reason in reasons:
        ledger.closed(ledger.opened("openai", "models", "peer"), "503 in words", reason)
    assert [c.reason for c in ledger.ended() if c.has_failed] == [EndReason.FAILED, EndReason.FAULT]
    assert [c.reason for c in ledger.unanswered()] == [EndReason.FAULT, EndReason.DROPPED]


def test_memory_is_bounded_over_many_calls() -> None:
    ledger = Ledger(keep=10, clock=lambda: next(times))
    times = count(0.0)

    def calls(number: int) -> int:
        for call in range(number):
            stream = ledger.opened("twilio", "media-stream", "peer", call=f"CA{call}")
            session = ledger.opened("openai", "realtime", "peer")
            ledger.moved(session, received=1)
            ledger.closed(session, "closed 1000")
            ledger.closed(stream, "caller hung up")
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        after_few = calls(100)
        assert calls(20_000) - after_few < 10_000
    finally:
        tracemalloc.stop()
    assert len(ledger.ended()) == 10
    assert ledger.seen("media-stream") == 20_100
    assert len(ledger.to_json()["ended"]) == 10


def test_bytes_and_lost_requests_and_peers_are_noted() -> None:
    ledger = Ledger()
    first = ledger.opened("openai", "chat.completions", "127.0.0.1:1")
    ledger.moved(first, received=10)
    ledger.moved(first, received=5, sent=7)
    (open_one,) = ledger.still_open()
    assert (open_one.received_bytes, open_one.sent_bytes) == (15, 7)
    ledger.closed(first, "200")
    ledger.moved(first, sent=99)
    assert ledger.ended()[0].sent_bytes == 7
    lost = ledger.opened("openai", "chat.completions", "127.0.0.1:1")
    ledger.closed(lost, "dropped", EndReason.DROPPED)
    ledger.opened("openai", "chat.completions", "127.0.0.1:2")
    assert [c.ending for c in ledger.unanswered("chat.completions")] == ["dropped", ""]
    assert ledger.distinct_peers("chat.completions") == 2


def test_a_session_belongs_to_the_longest_open_call_that_has_none() -> None:
    ledger = Ledger()
    for call in ("CA1", "CA2"):
        ledger.opened("twilio", "media-stream", "server", call=call)
    for _ in range(3):
        ledger.opened("openai", "realtime", "server")
    assert [c.call for c in ledger.still_open("realtime")] == ["CA1", "CA2", ""]
    ledger.opened("openai", "chat.completions", "server")
    assert ledger.still_open("chat.completions")[0].call == ""  # two calls are open: it may be either's


def test_what_is_heard_later_makes_the_call_certain_and_sets_the_other_right() -> None:
    ledger = Ledger()
    for call in ("CA1", "CA2"):
        ledger.opened("twilio", "media-stream", "server", call=call)
    first, second = (ledger.opened("openai", "realtime", "server") for _ in range(2))
    ledger.belongs(first, "CA2")
    assert [(c.call, c.certain) for c in ledger.still_open("realtime")] == [("CA2", True), ("CA1", False)]
    ledger.belongs(second, "CA1")
    assert all(c.certain for c in ledger.still_open())
    ledger.closed(first, "closed 1000")
    ledger.belongs(first, "CA9")  # too late: it has ended
    assert [(c.call, c.certain) for c in ledger.ended()] == [("CA2", True)]


def test_what_waits_for_its_answer() -> None:
    ledger = Ledger()
    first, second = ledger.opened("openai", "realtime", "a"), ledger.opened("openai", "realtime", "b")
    ledger.answered(first)
    assert ledger.is_waiting("realtime")
    assert not ledger.is_waiting("chat.completions")
    ledger.closed(second, "dropped before the handshake was done")
    assert not ledger.is_waiting("realtime")
    ledger.closed(first, "closed 1000")
    ledger.answered(first)  # nothing is kept of what has ended
    assert not ledger.is_waiting("realtime")
