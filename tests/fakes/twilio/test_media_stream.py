import base64
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leakline.fakes.twilio import MediaStream, StreamError, StreamIds

IDS = StreamIds.numbered(7)
SECOND = base64.b64encode(b"\xff" * 8000).decode()


def stream() -> MediaStream:
    return MediaStream(IDS, {"table": "4"})


def message(event: str, **fields: Any) -> str:
    return json.dumps({"event": event, "streamSid": IDS.stream_sid, **fields})


def test_a_stream_begins_as_twilio_documents_it() -> None:
    connected, start = (json.loads(text) for text in stream().open())
    assert connected == {"event": "connected", "protocol": "Call", "version": "1.0.0"}
    assert start == {
        "event": "start",
        "sequenceNumber": "1",
        "start": {
            "accountSid": IDS.account_sid,
            "streamSid": IDS.stream_sid,
            "callSid": IDS.call_sid,
            "tracks": ["inbound"],
            "mediaFormat": {"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1},
            "customParameters": {"table": "4"},
        },
        "streamSid": IDS.stream_sid,
    }
    assert [len(sid) for sid in (IDS.account_sid, IDS.call_sid, IDS.stream_sid)] == [34, 34, 34]


def test_messages_are_numbered_and_frames_carry_their_time() -> None:
    media_stream = stream()
    media_stream.open()
    first, second = (json.loads(media_stream.media("AAAA")[0]) for _ in range(2))
    assert first["media"] == {"track": "inbound", "chunk": "1", "timestamp": "0", "payload": "AAAA"}
    assert second["media"] == {"track": "inbound", "chunk": "2", "timestamp": "20", "payload": "AAAA"}
    dtmf, stop = json.loads(media_stream.dtmf("5")), json.loads(media_stream.stop()[0])
    assert dtmf["dtmf"] == {"track": "inbound_track", "digit": "5"}
    assert stop["stop"] == {"accountSid": IDS.account_sid, "callSid": IDS.call_sid}
    assert [m["sequenceNumber"] for m in (first, second, dtmf, stop)] == ["2", "3", "4", "5"]


def test_both_tracks_are_sent_when_asked_for() -> None:
    media_stream = MediaStream(IDS, tracks=("inbound", "outbound"))
    assert json.loads(media_stream.open()[1])["start"]["tracks"] == ["inbound", "outbound"]
    frames = [json.loads(text)["media"] for text in (*media_stream.media("AAAA"), *media_stream.media("BBBB"))]
    assert [(f["track"], f["chunk"], f["timestamp"]) for f in frames] == [
        ("inbound", "1", "0"),
        ("outbound", "1", "0"),
        ("inbound", "2", "20"),
        ("outbound", "2", "20"),
    ]
    assert frames[0]["payload"] == "AAAA"
    assert set(base64.b64decode(frames[1]["payload"])) == {0xFF}


def test_a_mark_returns_when_the_audio_before_it_has_played() -> None:
    media_stream = stream()
    assert media_stream.receive(message("media", media={"payload": SECOND}), 10.0) == []
    assert media_stream.receive(message("mark", mark={"name": "end"}), 10.1) == []
    assert media_stream.receive(message("media", media={"payload": SECOND}), 10.1) == []
    assert media_stream.played(10.9) == []
    (mark,) = media_stream.played(11.0)
    assert json.loads(mark)["mark"] == {"name": "end"}
    assert (media_stream.heard_s, media_stream.playing_until) == (2.0, 12.0)
    assert media_stream.played(99.0) == []


def test_clear_empties_the_buffer_and_returns_the_marks() -> None:
    media_stream = stream()
    media_stream.receive(message("media", media={"payload": SECOND}), 0.0)
    media_stream.receive(message("mark", mark={"name": "a"}), 0.0)
    media_stream.receive(message("mark", mark={"name": "b"}), 0.0)
    names = [json.loads(m)["mark"]["name"] for m in media_stream.receive(message("clear"), 0.25)]
    assert names == ["a", "b"]
    assert (media_stream.cleared_s, media_stream.playing_until) == (0.75, 0.25)


def test_a_mark_with_nothing_before_it_returns_at_once() -> None:
    media_stream = stream()
    media_stream.receive(message("mark", mark={"name": "now"}), 3.0)
    assert len(media_stream.played(3.0)) == 1


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "JSON object"),
        ("[]", "JSON object"),
        ('{"event": "dance"}', "media, mark or clear"),
        ('{"event": "clear", "streamSid": "MZ0"}', "streamSid"),
        (message("media"), "media.payload"),
        (message("media", media={"payload": "%"}), "media.payload"),
        (message("mark", mark={}), "mark.name"),
    ],
)
def test_what_twilio_would_refuse_is_named(text: str, problem: str) -> None:
    with pytest.raises(StreamError, match=problem):
        stream().receive(text, 0.0)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=60) | st.binary(max_size=60))
def test_no_message_breaks_a_stream(text: str | bytes) -> None:
    media_stream = stream()
    try:
        media_stream.receive(text, 0.0)
    except StreamError:
        assert media_stream.heard_s == 0.0
