"""What a request may take, and the order in which requests have their turns.

.venv/bin/python -m pytest tests/scoring/test_limits.py
"""

import math
import threading

import pytest

from mmclf.errors import BusyError, ConfigError, DeadlineError
from mmclf.runtime.environment import declared
from mmclf.scoring.limits import Allowance, Limits
from mmclf.scoring.turns import Turns
from tests.threads import until


def test_limits_are_the_environments(monkeypatch):
    for variable in declared():
        monkeypatch.delenv(variable.name, raising=False)
    found = Limits.of_server()
    assert (found.rows, found.characters, found.all_characters, found.pictures) == (1000, 20_000, 2_000_000, 16)
    assert (found.picture_bytes, found.body_bytes) == (20 * 2**20, 64 * 2**20)
    assert (found.requests, found.wait_seconds, found.seconds) == (32, 10, 50)
    monkeypatch.setenv("MMCLF_SERVE_ROWS", "7")
    monkeypatch.setenv("MMCLF_SERVE_BODY_MIB", "0")
    assert (Limits.of_server().rows, Limits.of_server().body_bytes) == (7, math.inf)
    monkeypatch.setenv("MMCLF_SERVE_ROWS", "many")
    with pytest.raises(ConfigError, match=r"^MMCLF_SERVE_ROWS: found 'many'"):
        Limits.of_server()


def test_without_limits_nothing_is_refused():
    Allowance().check(waiting=True)


def test_what_takes_too_long_ends_with_a_sentence():
    with pytest.raises(DeadlineError, match=r"^not done after 0 s, .*; send fewer rows at a time$"):
        Allowance(Limits(seconds=0)).check()
    Allowance(Limits(wait_seconds=0)).check()
    with pytest.raises(BusyError, match=r"^the model is busy: others .* for 0 s; send it again$"):
        Allowance(Limits(wait_seconds=0)).check(waiting=True)
    left = Allowance()
    left.give_up()
    with pytest.raises(DeadlineError, match="nobody waits"):
        left.check()


class Worker(threading.Thread):
    """Takes its turn, leaves it some times, and notes each time that it has it."""

    def __init__(
        self, turns: Turns, name: str, rounds: int, seen: list[str], allowance: Allowance | None = None
    ) -> None:
        super().__init__(name=name)
        self.turns, self.rounds, self.seen = turns, rounds, seen
        self.allowance = allowance or Allowance()
        self.ended: Exception | None = None

    def run(self) -> None:
        try:
            with self.turns.taken(self.allowance):
                self.seen.append(self.name)
                for _ in range(self.rounds):
                    with self.turns.left(self.allowance):
                        pass
                    self.seen.append(self.name)
        except (BusyError, DeadlineError) as error:
            self.ended = error


def start(turns: Turns, *workers: Worker) -> None:
    """In this order."""
    for worker in workers:
        before = len(turns._line)
        worker.start()
        until(lambda before=before: len(turns._line) > before)


def test_turns_go_round():
    turns, seen = Turns(), []
    workers = [Worker(turns, "a", 3, seen), Worker(turns, "b", 0, seen), Worker(turns, "c", 1, seen)]
    with turns.taken(Allowance()):
        start(turns, *workers)
        assert seen == []
    for worker in workers:
        worker.join()
    assert seen[:3] == ["a", "b", "c"]
    assert sorted(seen) == ["a", "a", "a", "a", "b", "c", "c"]
    assert not turns._line


def test_whoever_waits_too_long_or_is_gone_leaves_the_line():
    turns, seen = Turns(), []
    gone = Worker(turns, "gone", 0, seen)
    late = Worker(turns, "late", 0, seen, Allowance(Limits(seconds=0)))
    hasty = Worker(turns, "hasty", 0, seen, Allowance(Limits(wait_seconds=0)))
    patient = Worker(turns, "patient", 0, seen)
    with turns.taken(Allowance()):
        start(turns, patient, gone)
        for worker in (late, hasty):
            worker.start()
        gone.allowance.give_up()
        for worker in (gone, late, hasty):
            worker.join()
        assert seen == []
    patient.join()
    assert seen == ["patient"]
    assert [type(each.ended) for each in (gone, late, hasty)] == [DeadlineError, DeadlineError, BusyError]


def test_an_error_gives_the_turn_back():
    turns = Turns()
    with pytest.raises(KeyError), turns.taken(Allowance()):
        raise KeyError
    with turns.taken(Allowance()):
        pass
