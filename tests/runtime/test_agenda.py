"""The plan of a piece of work and its time left, by a clock that the tests turn.

.venv/bin/python -m pytest tests/runtime/test_agenda.py
"""

import pytest

from mmclf.runtime.agenda import START, Agenda
from mmclf.runtime.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def clock():
    return Clock()


def do(agenda: Agenda, clock: Clock, kind: str, steps: int, seconds: float, *, first: float | None = None) -> None:
    """A phase of one unit a step, all of it."""
    running = agenda.begin(kind, steps, kind)
    for number in range(steps):
        clock.wait(first if first is not None and number == 0 else seconds)
        agenda.advance(running, 1)
    agenda.end(running)


def test_the_first_step_of_a_kind_does_not_spoil_the_time_left(clock):
    agenda = Agenda("work", now=clock)
    agenda.plan("pictures", [10, 10])
    assert agenda.left is None  # nothing is known
    running = agenda.begin("pictures", 10)
    for seconds in (30, 2, 2, 2):
        clock.wait(seconds)
        agenda.advance(running, 1)
    assert agenda.left == pytest.approx((6 + 10) * 2)


def test_a_remembered_speed_counts_until_the_measured_one_outweighs_it(clock):
    agenda = Agenda("work", {"pictures": 1.0}, now=clock)
    agenda.plan("pictures", [100], guess=50.0)
    assert agenda.left == 100  # the remembered one, not the computed one
    running = agenda.begin("pictures", 100)
    for _ in range(51):
        clock.wait(3)
        agenda.advance(running, 1)
    # 50 steps of 3 s and two of the remembered 1 s
    assert agenda.left == pytest.approx(49 * (50 * 3 + 2 * 1) / 52)


def test_a_computed_speed_counts_only_until_one_is_measured(clock):
    agenda = Agenda("work", now=clock)
    agenda.plan("pictures", [10], guess=50.0)
    assert agenda.left == 500
    running = agenda.begin("pictures", 10)
    for _ in range(2):
        clock.wait(4)
        agenda.advance(running, 1)
    assert agenda.left == 8 * 4


def test_a_kind_of_which_nothing_is_known_is_like_another_one(clock):
    agenda = Agenda("work", {"training": 10.0}, now=clock)
    agenda.plan("training", [4])
    agenda.plan("validation", [2], like=("training", 0.5))
    assert agenda.left == 4 * 10 + 2 * 5


def test_what_lies_between_two_phases_is_part_of_the_time(clock):
    agenda = Agenda("work", now=clock)
    agenda.plan("epochs", [2] * 6)
    for _ in range(3):
        clock.wait(5)  # recording
        do(agenda, clock, "epochs", 2, 1.0)
    assert agenda.left == pytest.approx(3 * (5 + 2))
    assert agenda.measured() == {"epochs": 1.0, START + "epochs": 5.0}


def test_what_is_done_after_a_phase_can_be_part_of_it(clock):
    agenda = Agenda("work", now=clock)
    agenda.plan("pictures", [4] * 2)
    agenda.plan("epochs", [1] * 50, guess=0.5)
    do(agenda, clock, "pictures", 4, 1.0)
    clock.wait(9)  # writing the features
    agenda.settle("pictures")
    do(agenda, clock, "epochs", 1, 0.5)
    assert agenda.left == pytest.approx(4 * (3 + 9) / 3 + 49 * 0.5)


def test_a_phase_is_as_large_as_it_turns_out_to_be(clock):
    agenda = Agenda("work", {"pictures": 1.0}, now=clock)
    agenda.plan("pictures", [100, 100])
    agenda.begin("pictures", 0)  # all of it lies in the cache
    assert agenda.left == 100
    running = agenda.begin("pictures", 40)
    assert agenda.left == 40
    agenda.end(running)
    assert agenda.left == 0


def test_a_fold_that_ends_early_takes_its_other_epochs_along(clock):
    agenda = Agenda("work", {"epochs": 1.0}, now=clock)
    for fold in range(2):
        for epoch in range(3):
            agenda.plan("epochs", [10], group=(f"fold {fold}", f"epoch {epoch}"))
    agenda.drop(("fold 0",), ("fold 1", "epoch 2"))
    assert agenda.left == 20


def test_what_an_earlier_process_did_counts_as_done(clock):
    agenda = Agenda("work", {"epochs": 1.0}, now=clock)
    for fold in range(4):
        agenda.plan("epochs", [10], group=(f"fold {fold}",))
    agenda.drop(("fold 0",), ("fold 1",), done=True)
    assert agenda.left == 20
    assert agenda.share == pytest.approx(0.5)
    running = agenda.begin("epochs", 10, "epochs[ #]")
    assert agenda.place == "epochs 3 of 4"
    for _ in range(10):
        clock.wait(1)
        agenda.advance(running, 1)
    assert agenda.share == pytest.approx(0.75)


def test_a_single_long_step_goes_on_by_the_clock(clock):
    agenda = Agenda("work", now=clock)
    agenda.plan("solving", [1, 1], guess=60.0, is_whole=True)
    agenda.begin("solving", 1)
    clock.wait(45)
    assert agenda.left == 15 + 60
    clock.wait(55)  # it takes longer than it should
    assert agenda.left == pytest.approx(0.25 * 100 + 60)


def test_steps_that_are_phases_of_their_own_all_count(clock):
    agenda = Agenda("work", now=clock)
    agenda.plan("solving", [1] * 5, guess=60.0, is_whole=True)
    do(agenda, clock, "solving", 1, 20.0)
    assert agenda.left == 4 * 20


def test_a_machine_that_is_slower_than_it_was_is_slower_at_everything(clock):
    agenda = Agenda("work", {"solving": 10.0, "report": 20.0}, now=clock)
    agenda.plan("solving", [1, 1], is_whole=True)
    agenda.plan("report", [1], is_whole=True)
    do(agenda, clock, "solving", 1, 45.0)
    slower = (45 + 5) / (10 + 5)
    assert agenda.left == pytest.approx((2 * 10 + 45) / 3 + 20 * slower)


def test_what_has_many_steps_says_nothing_of_the_others(clock):
    """Texts begin with the shortest, which are quicker than all were supposed to be."""
    agenda = Agenda("work", {"texts": 1.0, "pictures": 2.0}, now=clock)
    agenda.plan("texts", [100])
    agenda.plan("pictures", [100])
    running = agenda.begin("texts", 100)
    for _ in range(20):
        clock.wait(0.1)
        agenda.advance(running, 1)
    assert agenda.left > 200


def test_what_was_planned_as_a_whole_is_remembered_as_one(clock):
    agenda = Agenda("fit", now=clock)
    agenda.plan("head", [1], guess=10.0, is_whole=True, group=("head",))
    agenda.drop(("head",))  # its parts take its place
    agenda.plan("epochs", [2], guess=1.0)
    do(agenda, clock, "epochs", 2, 3.0)
    agenda.measure("head", 6.5)
    assert agenda.measured()["head"] == 6.5


def test_a_phase_within_a_step_of_another_one(clock):
    agenda = Agenda("work", {"pictures": 2.0, "validation": 1.0}, now=clock)
    agenda.plan("validation", [3])
    agenda.plan("pictures", [10])
    outer = agenda.begin("validation", 3, "validation")
    inner = agenda.begin("pictures", 10, "pictures")
    assert (agenda.left, agenda.place) == (23, "pictures")
    for _ in range(10):
        clock.wait(2)
        agenda.advance(inner, 1)
    agenda.end(inner)
    assert (agenda.left, agenda.place) == (3, "validation")
    clock.wait(1)
    agenda.advance(outer, 1)
    assert agenda.left == 2


def test_the_place_is_told_from_the_whole_to_the_part(clock):
    agenda = Agenda("fit", now=clock)
    agenda.plan("pictures", [5, 5])
    with agenda.within("MLP head"), agenda.within("fold 3 of 5"):
        agenda.begin("pictures", 5, "pictures[, pass #]")
        assert agenda.place == "MLP head, fold 3 of 5, pictures, pass 1 of 2"
    agenda.begin("texts", 5, "texts[, pass #]")
    assert agenda.place == "texts"


@pytest.mark.parametrize("wrong", [0.2, 5.0])
def test_the_time_left_is_right_from_a_tenth_of_the_work_on(clock, wrong):
    """Passes and epochs with slow first batches; that of pictures was computed wrongly by a factor of five."""
    passes, batches, folds, epochs = 4, 30, 3, 10
    agenda = Agenda("stage1", {"epochs": 0.6}, now=clock)
    agenda.plan("epochs", [8] * folds * epochs)
    agenda.plan("pictures", [batches] * passes, guess=2.0 * wrong)
    said = []

    def step(running, seconds):
        clock.wait(seconds)
        agenda.advance(running, 1)
        said.append((clock.seconds, agenda.left))

    for _ in range(passes):
        running = agenda.begin("pictures", batches)
        for batch in range(batches):
            step(running, 8.0 if batch == 0 else 2.0)
        agenda.end(running)
    for _ in range(folds * epochs):
        clock.wait(0.3)
        running = agenda.begin("epochs", 8)
        for _ in range(8):
            step(running, 0.5)
        agenda.end(running)
    end = clock.seconds
    later = [(left, end - at) for at, left in said if at - 100 >= 0.1 * (end - 100) and end - at > 5]
    assert all(1 / 1.5 < left / true < 1.5 for left, true in later)
    assert not 1 / 1.5 < said[0][1] / (end - said[0][0]) < 1.5  # it began with something else


def test_many_epochs_cost_no_time():
    agenda = Agenda("stage1")
    for epoch in range(50_000):
        agenda.plan("epochs", [10], guess=1.0, group=("fold 0", f"epoch {epoch}"))
    agenda.drop(*[("fold 0", f"epoch {epoch}") for epoch in range(10, 50_000)])
    assert agenda.left == 100


def test_a_pace_without_anything_is_unknown():
    pace = Pace()
    assert (pace.expected, pace.measured) == (None, None)
    pace.add(2, 8)
    assert (pace.expected, pace.measured) == (4, None)
