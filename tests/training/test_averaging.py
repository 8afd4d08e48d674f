"""The moving average of weights.

.venv/bin/python -m pytest tests/training/test_averaging.py
"""

import pytest
import torch
from torch import nn

from mmclf.training.averaging import AveragedWeights


def walk(parameter, averages, values):
    for value in values:
        with torch.no_grad():
            parameter.fill_(value)
        averages.update()


def test_the_first_steps_count_more_than_the_decay_says():
    parameter = nn.Parameter(torch.tensor([1.0]))
    averages = AveragedWeights([parameter], 0.99)
    walk(parameter, averages, [2.0, 4.0])
    after_one = 2 / 11 * 1.0 + 9 / 11 * 2.0
    expected = 3 / 12 * after_one + 9 / 12 * 4.0
    averages.show(True)
    assert parameter.item() == pytest.approx(expected)


def test_later_the_decay_is_the_one_that_is_asked_for():
    parameter = nn.Parameter(torch.tensor([0.0]))
    averages = AveragedWeights([parameter], 0.5)
    walk(parameter, averages, [0.0] * 20 + [1.0, 1.0])
    averages.show(True)
    assert parameter.item() == pytest.approx(0.75)


def test_showing_changes_nothing_for_good():
    parameter = nn.Parameter(torch.tensor([1.0, 5.0]))
    averages = AveragedWeights([parameter], 0.9)
    walk(parameter, averages, [3.0])
    address = parameter.data_ptr()
    for _ in range(2):
        averages.show(True)
        averages.show(True)
        assert parameter.tolist() != [3.0, 3.0]
        averages.show(False)
        averages.show(False)
        assert parameter.tolist() == [3.0, 3.0]
    assert parameter.data_ptr() == address  # what holds the parameter, as an optimiser does, sees it too


def test_what_is_frozen_stays_out_of_it():
    frozen, trained = nn.Parameter(torch.tensor([1.0]), requires_grad=False), nn.Parameter(torch.tensor([1.0]))
    averages = AveragedWeights([frozen, trained], 0.9)
    walk(frozen, averages, [2.0])
    walk(trained, averages, [2.0])
    averages.show(True)
    assert frozen.item() == 2.0
    assert 1.0 < trained.item() < 2.0
