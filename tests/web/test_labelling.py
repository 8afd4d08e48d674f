"""Uploads that are labelled in the background.

.venv/bin/python -m pytest tests/web/test_labelling.py
"""

import pytest

from mmclf.errors import BusyError, RowError
from mmclf.scoring.limits import Limits
from mmclf.web import labelling
from mmclf.web.labelling import IDLE_SECONDS, MOST, Labelling, Labellings, Stage
from tests.threads import until

CSV = b"id,title,description\n" + b"".join(b"r%d,red shoe %d,soft\n" % (row, row) for row in range(40))


def labelled(folder, scorer, files, precision=0.0) -> Labelling:
    made = Labelling(folder, Limits())
    for name, content in files.items():
        with made.upload.receive(name) as write:
            write(content)
    made.start(scorer, precision)
    until(lambda: not made.is_working)
    return made


def test_rows_are_scored_part_by_part(tmp_path, scorer, monkeypatch):
    monkeypatch.setattr(labelling, "BATCHES", 1)
    found = labelled(tmp_path, scorer, {"t.csv": CSV})
    progress = found.progress
    assert (progress.stage, progress.done, progress.rows, progress.assigned) == (Stage.DONE, 40, 40, 40)
    assert progress.seconds_left == 0
    assert [line.id for line in progress.lines] == [f"r{row}" for row in range(labelling.SHOWN)]
    lines = found.result.read_text().splitlines()
    assert lines[0] == "id,categories"
    assert [line.split(",")[0] for line in lines[1:]] == [f"r{row}" for row in range(40)]
    assert lines[1] == f"r0,{progress.lines[0].label}"


def test_what_is_not_sure_enough_is_unassigned(tmp_path, scorer):
    found = labelled(tmp_path, scorer, {"t.csv": CSV}, 0.99)
    assert (found.progress.assigned, found.progress.lines[0].label) == (0, "unassigned")
    assert set(found.result.read_text().splitlines()[1:]) == {f"r{row},unassigned" for row in range(40)}


def test_a_picture_that_is_none_is_noted(tmp_path, scorer):
    found = labelled(tmp_path, scorer, {"t.csv": CSV, "r3.png": b"no picture"})
    assert found.progress.stage is Stage.DONE
    [note] = found.progress.notes
    assert note.startswith("r3.png: cannot identify image file")
    assert note.endswith("; its row counts as one without it")
    assert str(tmp_path) not in note


def test_a_failure_is_a_sentence_without_the_folder(tmp_path, scorer):
    found = labelled(tmp_path, scorer, {"shop.csv": b"name\nx\n"})
    assert found.progress.stage is Stage.FAILED
    assert found.progress.error.startswith("shop.csv: no id column 'id'")


def test_a_bug_is_a_sentence_too_and_its_traceback_in_the_log(tmp_path, scorer, monkeypatch, capsys):
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(labelling, "ProbabilityTable", fail)
    found = labelled(tmp_path, scorer, {"t.csv": CSV})
    assert found.progress.error == "the labelling failed (ZeroDivisionError); the log of the app says where"
    assert "Traceback" in capsys.readouterr().err


def test_it_begins_once(tmp_path, scorer):
    found = labelled(tmp_path, scorer, {"t.csv": CSV})
    with pytest.raises(RowError, match="labelled already"):
        found.start(scorer, 0)


def test_a_precision_that_the_model_does_not_reach_is_refused_at_once(tmp_path, scorer):
    made = Labelling(tmp_path, Limits())
    with pytest.raises(RowError, match=r"^precision: found 0\.999, but"):
        made.start(scorer, 0.999)
    assert made.progress.stage is Stage.RECEIVING


def test_what_is_stopped_ends_and_leaves_nothing(tmp_path, scorer):
    made = Labelling(tmp_path, Limits())
    with made.upload.receive("t.csv") as write:
        write(CSV)
    turns = scorer._turns
    with turns.taken(labelling.Allowance()):  # it waits for its turn
        made.start(scorer, 0)
        until(lambda: len(turns._line) == 2)
        made.stop()
    assert list(tmp_path.iterdir()) == []
    assert made.progress.stage is Stage.FAILED


def test_there_are_only_so_many_at_a_time(tmp_path):
    now = [0.0]
    all_of_them = Labellings(tmp_path, Limits(), lambda: now[0])
    made = [all_of_them.make() for _ in range(MOST)]
    with pytest.raises(BusyError, match=f"^{MOST} tables are being labelled; try again in a minute$"):
        all_of_them.make()
    now[0] = IDLE_SECONDS + 1
    assert all_of_them.find(made[0].name) is made[0]  # somebody asks for it
    newest = all_of_them.make()
    with pytest.raises(RowError, match="aren't here any more; send them again"):
        all_of_them.find(made[1].name)
    assert {each.name for each in tmp_path.iterdir()} == {made[0].name, newest.name, *(m.name for m in made[2:])}
    assert all_of_them.take_out(newest.name) is newest
    assert all_of_them.take_out(newest.name) is None
    newest.stop()
    all_of_them.close()
    assert list(tmp_path.iterdir()) == []
