"""Damaged tables are made alike each time, of every outcome, and what isn't a sentence is found.

.venv/bin/python -m pytest tests/benchmarks/test_fuzz_tables.py
"""

import functools
import itertools

import pytest

from benchmarks import fuzz_tables
from benchmarks.fuzz_tables import Mutant, Source, attempt
from mmclf.config import DataConfig


@pytest.fixture
def source(shop):
    return Source(shop.train_csv.read_bytes().splitlines(keepends=True), shop.images)


def test_a_seed_and_a_number_give_the_same_table_again(source):
    first = list(fuzz_tables.mutants([source], 0, 30))
    assert first == list(itertools.islice(fuzz_tables.mutants([source], 0, 60), 30))
    assert first != list(fuzz_tables.mutants([source], 1, 30))
    assert len({mutant.content for mutant in first}) > 25


def test_tables_of_every_outcome_are_told_apart(source, tmp_path):
    lines = source.lines[:50]
    for number, (content, outcome) in enumerate(
        [
            (b"".join(lines), "read"),
            (b"".join([*lines, b" x1,a,b\n"]).replace(b"categories", b"kind"), "warned"),
            (b"".join(lines)[:20], "refused"),
        ]
    ):
        assert attempt(Mutant("train.csv", content, source.images), tmp_path, 3 * number) == outcome


def test_what_is_said_without_a_place_is_found(source, tmp_path, monkeypatch):
    """`data.text_cols` names no table, so it stands for a message that a user can't place."""
    monkeypatch.setattr(fuzz_tables, "DataConfig", functools.partial(DataConfig, text_cols=["id", "id"]))
    with pytest.raises(AssertionError, match=r"what it says of table 7 is no sentence: .data\.text_cols"):
        attempt(Mutant("train.csv", b"".join(source.lines), source.images), tmp_path, 7)


def test_it_ends_with_one_line_and_its_figures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(fuzz_tables, "DATA", tmp_path / "none")
    monkeypatch.setattr(fuzz_tables, "MIB", 10**6)  # that of the process, in which other tests ran
    assert fuzz_tables.main(["--count", "12"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("12 tables of seed 0 in ")
    assert fuzz_tables.main(["--count", "0"]) == 0
