from itertools import count

from fakes.ledger import Ledger


def test_what_has_not_ended_is_still_open() -> None:
    ledger = Ledger(clock=lambda: 5.0)
    first = ledger.opened("openai", "realtime", "127.0.0.1:1")
    second = ledger.opened("openai", "realtime", "127.0.0.1:2")
    ledger.closed(first, "closed 1000")
    assert [c.id for c in ledger.still_open("realtime")] == [second]
    (ended,) = ledger.ended("realtime")
    assert (ended.ending, ended.closed_at, ended.is_open) == ("closed 1000", 5.0, False)
    assert ledger.seen("realtime") == 2


def test_the_first_ending_counts() -> None:
    ledger = Ledger()
    entry = ledger.opened("openai", "chat.completions", "peer")
    ledger.closed(entry, "200")
    ledger.closed(entry, "dropped")
    assert [c.ending for c in ledger.ended()] == ["200"]


def test_memory_is_bounded_over_many_calls() -> None:
    ledger = Ledger(keep=10, clock=lambda: next(times))
    times = count(0.0)
    for _ in range(1000):
        ledger.closed(ledger.opened("twilio", "media-stream", "peer"), "caller hung up")
    assert len(ledger.ended()) == 10
    assert ledger.seen("media-stream") == 1000
    assert len(ledger.to_json()["ended"]) == 10
