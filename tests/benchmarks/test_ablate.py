"""The ablation's figures can be relied on, and it runs from end to end.

.venv/bin/python -m pytest tests/benchmarks/test_ablate.py
"""

import pytest

from benchmarks import ablate


def test_every_row_is_compared_with_another_that_there_is():
    for row in ablate.ROWS.values():
        assert row.against == "" or row.against in ablate.ROWS


def test_an_unknown_row_is_named(capsys):
    with pytest.raises(SystemExit):
        ablate.main(["kernels"])
    assert "found 'kernels'; the rows are tf-idf, " in capsys.readouterr().err


@pytest.mark.usefixtures("luma")
def test_it_runs(capsys):
    assert ablate.main(["tf-idf", "mlp", "text-alone", "kernel+mlp", "--data", "luma", "--seeds", "42"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines if line.startswith("| ")][2:] == [
        "| tf-idf",
        "| mlp",
        "| text-alone",
        "| kernel+mlp",
    ]
    top1 = [float(line.split(" | ")[1]) for line in lines[2:6]]
    assert all(0.1 < value < 1 for value in top1)
    assert "points" in lines[0]


@pytest.mark.usefixtures("luma")
def test_what_a_lost_picture_or_text_costs(capsys):
    assert ablate.main(["--missing", "--data", "luma", "--seeds", "42"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line, what in zip(lines[2:4], ("picture", "text"), strict=True):
        assert line.startswith(f"| {what} taken away | ")
        whole, without, never = (float(cell) for cell in line.removesuffix(" |").split(" | ")[1:])
        assert all(0 < value < 1 for value in (whole, without, never))
    assert whole > without + 0.1  # the texts of the drawn shop; what a random tower makes of its pictures is noise
