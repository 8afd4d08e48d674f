"""python -m pytest tests/runtime/test_progress.py"""

import io
import re
import sys
import time

import pytest

from mmclf.runtime import progress
from mmclf.runtime.progress import clock, say, track


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


def test_track_prints_plain_lines_where_stderr_is_no_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "PLAIN_INTERVAL", 0.0)
    assert list(track(range(3), 3, "reading")) == [0, 1, 2]
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"reading: 1/3, \d+ s left\nreading: 2/3, \d+ s left\n", err)


def test_track_waits_between_two_plain_lines(capsys, monkeypatch):
    now = iter([0.0, 4.0, 11.0, 12.0, 25.0, 30.0])  # the start, then after each item
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    assert len(list(track(range(5), 5, "reading"))) == 5
    # 11 s for 2 of 5: 16.5 s for the other 3; 25 s for 4 of 5: 6.25 s for the last
    assert capsys.readouterr().err == "reading: 2/5, 16 s left\nreading: 4/5, 6 s left\n"


def test_track_shows_a_bar_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    assert list(track(range(3), 3, "reading")) == [0, 1, 2]
    assert "reading" in terminal.getvalue()
    assert "/3" in terminal.getvalue()


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
