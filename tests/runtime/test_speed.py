"""python -m pytest tests/runtime/test_speed.py"""

import pytest
import torch

from mmclf.runtime import speed


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves."""
    now = [100.0]
    monkeypatch.setattr(speed.time, "perf_counter", lambda: now[0])
    return now


def test_only_the_time_until_an_item_comes_is_waiting(clock):
    def source():
        for item in range(3):
            clock[0] += 2.0
            yield item
        clock[0] += 1.0  # to find that there is no more

    watch = speed.Stopwatch()
    got = []
    for item in watch.waiting(source()):
        clock[0] += 3.0
        got.append(item)
    assert got == [0, 1, 2]
    assert watch.wait == pytest.approx(7.0)
    assert watch.seconds == pytest.approx(16.0)
    assert watch.wait_share == pytest.approx(7 / 16)


def test_nothing_was_waited_for_at_the_start(clock):
    assert speed.Stopwatch().wait_share == 0.0


def test_an_error_of_the_source_is_passed_on():
    def source():
        yield 1
        raise OSError("gone")

    items = speed.Stopwatch().waiting(source())
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)


def test_the_peak_of_the_memory_grows_with_what_is_held():
    before = speed.peak_memory(torch.device("cpu"))
    held = torch.ones(64 * 2**20)  # 256 MiB of float32
    after = speed.peak_memory(torch.device("cpu"))
    assert held[0] == 1
    assert after >= before > 50
    assert after > 256
