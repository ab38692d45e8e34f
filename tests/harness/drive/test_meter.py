import pytest

from leakline.harness.drive.meter import Heard, Meter


def test_an_answer_is_timed_from_the_end_of_the_question_to_its_first_sound() -> None:
    meter = Meter()
    meter.speaks(0.0, playing_until=0.0)
    meter.has_spoken(1.0)
    meter.audio(1.4, 0.1, playing_until=0.0)
    meter.audio(1.45, 0.1, playing_until=1.5)
    heard = meter.heard()
    assert heard.first_audio_s == 1.4
    assert list(heard.answers_s) == pytest.approx([0.4])
    assert heard.underruns == 0
    assert heard.longest_gap_s == pytest.approx(0.05)


def test_an_interruption_lasts_until_the_server_clears_or_all_has_played() -> None:
    meter = Meter()
    meter.audio(0.0, 3.0, playing_until=0.0)
    meter.speaks(1.0, playing_until=3.0)
    meter.silent(1.25)  # cleared
    meter.has_spoken(1.6)
    meter.audio(2.0, 1.0, playing_until=1.25)
    meter.speaks(2.5, playing_until=3.0)
    meter.has_spoken(2.7)
    meter.audio(3.5, 1.0, playing_until=3.0)  # never cleared: it played to its end
    assert list(meter.heard().silences_s) == pytest.approx([0.25, 0.5])


def test_playback_that_runs_dry_within_a_turn_is_an_underrun_and_between_turns_is_not() -> None:
    meter = Meter()
    meter.audio(0.0, 0.1, playing_until=0.0)
    meter.audio(0.3, 0.1, playing_until=0.1)  # 200 ms of nothing
    meter.audio(2.0, 0.1, playing_until=0.4)  # another turn
    heard = meter.heard()
    assert heard.underruns == 1
    assert heard.dry_s == pytest.approx(0.2)
    assert heard.longest_gap_s == pytest.approx(0.3)


def test_jitter_is_that_of_rfc_3550() -> None:
    meter = Meter()
    for number, arrival in enumerate((0.0, 0.02, 0.05, 0.06)):
        meter.audio(arrival, 0.02, playing_until=0.02 * number)
    late = (0.0, 0.01, -0.01)
    jitter = most = 0.0
    for each in late:
        jitter += (abs(each) - jitter) / 16
        most = max(most, jitter)
    assert meter.heard().jitter_s == pytest.approx(most)


def test_a_call_in_which_nothing_is_heard() -> None:
    assert Meter().heard() == Heard()
