import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leakline.fakes import audio
from leakline.fakes.audio import AudioFormat


@pytest.mark.parametrize("fmt", ["audio/pcmu", "audio/pcma"])
def test_g711_decodes_what_it_encodes(fmt: AudioFormat) -> None:
    samples = np.linspace(-32000, 32000, 4001).astype(np.int16)
    back = audio.decode(audio.encode(samples, fmt), fmt)
    # A G.711 code is exact to within half a step of its segment: 1/32 of the value, and 8 near zero.
    assert np.all(np.abs(back.astype(int) - samples) <= np.maximum(16, np.abs(samples.astype(int)) / 28))


def test_g711_has_the_codes_of_the_standard() -> None:
    assert audio.decode(b"\xff\x00\x80", "audio/pcmu").tolist() == [0, -32124, 32124]
    assert audio.decode(b"\xd5\x2a\xaa", "audio/pcma").tolist() == [8, -32256, 32256]
    assert audio.decode(audio.SILENCE_FRAME, "audio/pcmu").any() == np.False_


def test_pcm_keeps_samples_and_leaves_out_half_of_one() -> None:
    samples = np.array([0, 1, -1, 32767, -32768], dtype=np.int16)
    assert audio.decode(audio.encode(samples, "audio/pcm") + b"\x01", "audio/pcm").tolist() == samples.tolist()


@pytest.mark.parametrize("fmt", ["audio/pcm", "audio/pcmu", "audio/pcma"])
def test_speech_has_the_length_asked_for_and_is_the_same_for_the_same_seed(fmt: AudioFormat) -> None:
    assert audio.seconds_of(audio.speech(0.5, fmt), fmt) == pytest.approx(0.5)
    assert audio.speech(0.5, fmt, seed=3) == audio.speech(0.5, fmt, seed=3)
    assert audio.speech(0.5, fmt, seed=3) != audio.speech(0.5, fmt, seed=4)


def test_frames_are_whole_and_cover_the_speech() -> None:
    frames = audio.speech_frames(1.4)
    assert len(frames) == 70
    assert {len(frame) for frame in frames} == {audio.FRAME_BYTES}
    assert len(audio.speech_frames(0.001)) == 1


@given(number=st.integers(0, 2**64 - 1), before=st.integers(0, 400))
def test_a_number_in_silence_is_found_wherever_the_audio_is_cut(number: int, before: int) -> None:
    tagged = audio.tagged_silence(number)
    assert len(tagged) == audio.FRAME_BYTES
    assert not audio.decode(tagged, "audio/pcmu").any()
    assert audio.tag_in(audio.speech(0.1)[:before] + tagged) == number
    assert audio.tag_in(tagged[:100]) is None


def test_audio_without_a_number_has_none() -> None:
    assert audio.tag_in(audio.SILENCE_FRAME) is None
    assert audio.tag_in(audio.speech(1.0)) is None
    spoilt = bytearray(audio.tagged_silence(7))
    spoilt[60] ^= 0x80
    assert audio.tag_in(bytes(spoilt)) is None
