"""python -m pytest tests/runtime/test_progress.py"""

import io
import sys
from itertools import pairwise

import pytest

from mmclf.runtime.agenda import Agenda
from mmclf.runtime.progress import Display, clock, current, is_shown, say, step, track, whole


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (45.2, "45 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (200, "3 min 20 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 00 min"),
        (7500, "2 h 05 min"),
        (360_000, "100 h 00 min"),
    ],
)
def test_clock_reads_like_a_clock(seconds, text):
    assert clock(seconds) == text


def test_say_prints_one_line_on_stderr(capsys):
    say("größe: 3 rows")
    assert capsys.readouterr() == ("", "größe: 3 rows\n")


def test_say_prints_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    say("above the bar")
    assert "above the bar\n" in terminal.getvalue()


def test_track_passes_the_items_on_and_is_quiet_while_it_is_quick(capsys):
    assert list(track(iter("abc"), 3, "reading")) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def shown_work(clock: Clock) -> tuple[Agenda, Display]:
    agenda = Agenda("stage1", {"epochs": 10.0}, now=clock)
    agenda.plan("epochs", [6])
    agenda.begin("epochs", 6, "epoch 1 of 1")
    return agenda, Display(agenda)


def test_a_plain_line_comes_within_ten_seconds_of_the_one_before(capsys):
    clock = Clock()
    _, display = shown_work(clock)
    said = []
    for tenths in range(301):
        clock.seconds = tenths / 10
        display.tick()
        said += [(clock.seconds, line) for line in capsys.readouterr().err.splitlines()]
    assert [line for _, line in said] == [
        "stage1: epoch 1 of 1, 16%, 50 s left",
        "stage1: epoch 1 of 1, 32%, 41 s left",
        "stage1: epoch 1 of 1, 48%, 32 s left",
    ]
    moments = [0.0, *(moment for moment, _ in said)]
    assert all(after - before <= 10 for before, after in pairwise(moments))


def test_a_terminal_has_one_bar_of_the_whole_work(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    clock = Clock()
    _, display = shown_work(clock)
    clock.seconds = 30.0
    display.tick()
    display.close()
    assert "stage1: epoch 1 of 1 [##########----------] 50%, 30 s left" in terminal.getvalue()
    assert "\n" not in terminal.getvalue()


def test_what_is_unknown_is_not_made_up(capsys):
    clock = Clock()
    agenda = Agenda("infer", now=clock)
    agenda.plan("pictures", [5])
    clock.seconds = 10.0
    Display(agenda).tick()
    assert capsys.readouterr().err == "infer, 10 s so far\n"


def test_loops_within_a_piece_of_work_are_parts_of_it():
    with whole("fit", {"reading": 2.0}) as agenda:
        agenda.plan("reading", [3, 3])
        with whole("stage1") as same:
            assert same is agenda
            assert is_shown()
            for number in track(range(3), 3, "reading[, part #]"):
                assert agenda.place == "reading, part 1 of 2"
                assert number < 3
        assert agenda.left is not None
        assert agenda.left < 7  # three more
        assert list(track(range(3), 3, "unseen", quiet=True)) == [0, 1, 2]
        assert agenda.knows("unseen") is False
    assert not is_shown()
    assert current().name == ""


def test_a_step_is_shown_as_one():
    with whole("fit") as agenda:
        agenda.plan("report", [1], guess=100.0, is_whole=True)
        with step("report", 1, "report"):
            assert agenda.place == "report"
        assert agenda.left == 0
        assert agenda.place == ""


def test_track_takes_items_one_by_one():
    taken = []

    def items():
        for number in range(3):
            taken.append(number)
            yield number

    tracked = track(items(), 3, "reading")
    assert next(tracked) == 0
    assert taken == [0]


def test_track_lets_errors_through():
    def items():
        yield 1
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        list(track(items(), 2, "reading"))
