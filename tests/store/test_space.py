"""python -m pytest tests/store/test_space.py"""

import pytest

from mmclf.store import space
from mmclf.store.space import show_size, warn_if_short


def test_nothing_is_said_where_there_is_room(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(space, "free_bytes", lambda folder: 100)
    warn_if_short({"a": (tmp_path, 60), "b": (tmp_path / "new", 40)})
    assert capsys.readouterr().err == ""


def test_what_goes_to_one_disk_is_added_up(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(space, "free_bytes", lambda folder: 3 * 2**20)
    warn_if_short({"two checkpoints": (tmp_path, 2**21), "5 folds": (tmp_path / "new", 2**22)})
    said = capsys.readouterr().err
    assert said.startswith(f"warning: {tmp_path} has 3.0 MiB left, and two checkpoints and 5 folds take 6.0 MiB; make")
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 KiB"), (12_000, "12 KiB"), (2**20, "1.0 MiB"), (3 * 2**30, "3.0 GiB")]
)
def test_sizes_are_shown_for_people(count, shown):
    assert show_size(count) == shown
