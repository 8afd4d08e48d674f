"""How a log is judged.

.venv/bin/python -m pytest tests/benchmarks/test_time_left.py
"""

import pytest

from benchmarks.time_left import judge, read_clock

LOG = """\
2026-11-27 10:00:00 stage1: MLP head on features of ViT-B-32, 5 folds x 10 epochs
2026-11-27 10:00:05 stage1, 5 s so far
2026-11-27 10:00:10 stage1: pictures, 11%, 1 min 00 s left
2026-11-27 10:00:30 stage1: pictures, 30%, 1 h 00 min left
2026-11-27 10:00:50 stage1 fold 0 epoch 1/10: loss 1.2, val top-1 0.5, 352 rows/s, 3 s
2026-11-27 10:00:51 stage1: fold 1 of 5, epoch 2 of 10, 51%, 49 s left
2026-11-27 10:01:40 stage1: top-1 0.5 over 5 folds in 1 min 40 s
"""


def test_the_first_line_from_each_share_on_is_judged():
    found = judge(LOG, (0.1, 0.25, 0.5, 0.75))
    assert [(each.share, each.said, each.true) for each in found] == [(0.1, 60, 90), (0.25, 3600, 70), (0.5, 49, 49)]
    assert [each.ratio for each in found] == pytest.approx([60 / 90, 3600 / 70, 1.0])


@pytest.mark.parametrize(("text", "seconds"), [("45 s", 45), ("3 min 20 s", 200), ("2 h 05 min", 7500)])
def test_clocks_are_read(text, seconds):
    assert read_clock(text) == seconds
