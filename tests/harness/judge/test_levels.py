import pytest

from leakline.harness.judge import levels

MIB = 1024.0 * 1024


@pytest.mark.parametrize(("number", "seconds", "state"), [(10, 1, "clean"), (100, 1, "leaking"), (59, 2, "clean")])
def test_wakeups_are_judged_by_the_minute(number: float, seconds: float, state: str) -> None:
    level = levels.wakeups(number, seconds)
    assert (level.state, level.value) == (state, 60 * number / seconds)
    assert level.text == f"{60 * number / seconds:,.0f} a minute while idle; 1,800 is the limit"


@pytest.mark.parametrize(
    ("rest", "each", "power", "state"),
    [
        (0, 0.02, 2, "clean"),  # little, whatever its shape
        (0, 4, 1, "clean"),  # in proportion to the length
        (4, 4, 1, "clean"),
        (100, 1, 1, "clean"),
        (0, 0.1, 2, "leaking"),  # with its square
        (1.5, 0.1, 2, "leaking"),  # whatever a call needs besides
        (100, 1, 2, "leaking"),
        (4, 10, 0, "clean"),
    ],
)
def test_memory_within_a_call_may_grow_with_its_length_and_no_faster(
    rest: float, each: float, power: float, state: str
) -> None:
    level = levels.peak_heap(*(MIB * (rest + each * length**power) for length in levels.CALL_LENGTHS))
    assert level.state == state, level.text


@pytest.mark.parametrize("noise", [-0.4, 0.4])
def test_the_noise_of_memory_within_a_call_does_not_change_its_verdict(noise: float) -> None:
    short, long, longer = (MIB * (1 + 0.5 * length) for length in levels.CALL_LENGTHS)
    assert levels.peak_heap(short, long + noise * MIB, longer - noise * MIB).state == "clean"
    short, long, longer = (MIB * (1 + 0.2 * length**2) for length in levels.CALL_LENGTHS)
    assert levels.peak_heap(short - noise * MIB, long + noise * MIB, longer - noise * MIB).state == "leaking"


@pytest.mark.parametrize(
    ("failed", "logged", "state"),
    [(0, 0, "clean"), (2, 0, "clean"), (3, 0, "leaking"), (10, 4, "leaking"), (10, 5, "clean")],
)
def test_failures_that_are_not_logged_are_found(failed: int, logged: int, state: str) -> None:
    assert levels.silent_errors(failed, logged).state == state


@pytest.mark.parametrize(
    "line",
    [
        "WARNING:grill:call CA1: no order could be read: Error code: 500",
        "openai.InternalServerError: The server had an error",
        "2026-11-24 connection refused by the model",
        "the model timed out",
        '{"level":"error","msg":"x"}',
        "Traceback (most recent call last):",
        "HTTP 503 from upstream",
    ],
)
def test_lines_that_speak_of_an_error(line: str) -> None:
    assert levels.error_lines(f"INFO: fine\n{line}\nINFO: fine") == 1


@pytest.mark.parametrize(
    "line",
    ["INFO: 127.0.0.1:50012 - GET /health 200 OK", "call CA1 ordered 2 burgers", "listening on port 5050", "terror"],
)
def test_lines_that_do_not(line: str) -> None:
    assert levels.error_lines(line) == 0
