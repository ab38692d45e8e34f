import numpy as np

from leakline.fakes import audio
from leakline.fakes.openai.vad import ServerVad, loudness


def push(vad: ServerVad, sound: bytes, piece: int = 160) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    for start in range(0, len(sound), piece):
        found += [(event.kind, event.at_ms) for event in vad.push(sound[start : start + piece], "audio/pcmu")]
    return found


def test_speech_starts_after_its_onset_and_stops_after_the_silence() -> None:
    vad = ServerVad(silence_duration_ms=500, prefix_padding_ms=300)
    sound = audio.SILENCE_FRAME * 50 + audio.speech(1.0) + audio.SILENCE_FRAME * 30
    assert push(vad, sound) == [("started", 700), ("stopped", 2500)]
    assert vad.position_ms == 2600


def test_it_does_not_matter_how_the_audio_is_cut() -> None:
    sound = audio.SILENCE_FRAME * 50 + audio.speech(1.0) + audio.SILENCE_FRAME * 30
    assert push(ServerVad(), sound, len(sound)) == push(ServerVad(), sound)


def test_silence_clicks_and_speech_below_the_threshold_are_not_speech() -> None:
    assert push(ServerVad(), audio.SILENCE_FRAME * 100) == []
    click = audio.SILENCE_FRAME * 5 + audio.speech(0.02) + audio.SILENCE_FRAME * 50
    assert push(ServerVad(), click) == []
    assert push(ServerVad(threshold=1.0), audio.speech(1.0)) == []


def test_a_pause_shorter_than_the_silence_does_not_end_the_turn() -> None:
    sound = audio.speech(0.5) + audio.SILENCE_FRAME * 20 + audio.speech(0.5) + audio.SILENCE_FRAME * 30
    assert [kind for kind, _ in push(ServerVad(), sound)] == ["started", "stopped"]


def test_loudness_is_zero_of_nothing_and_one_of_full_scale() -> None:
    assert loudness(np.array([], dtype=np.int16)) == 0.0
    assert loudness(np.zeros(160, dtype=np.int16)) == 0.0
    assert loudness(np.full(160, 32767, dtype=np.int16)) == 1.0
