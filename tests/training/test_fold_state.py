"""A fold that is ended anywhere goes on to the same weights and rows, to the bit.

.venv/bin/python -m pytest tests/training/test_fold_state.py
"""

import copy
import json
import os
import signal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mmclf.config import build_config
from mmclf.data.folds import Split
from mmclf.data.text import Tokens
from mmclf.model.checkpoint import WEIGHTS, build_head
from mmclf.model.classifier import Classifier
from mmclf.model.loading import load_backbone
from mmclf.runtime import stopping
from mmclf.runtime.device import Precision
from mmclf.runtime.seeds import seed_everything
from mmclf.training.crossval import train_fold
from mmclf.training.fold_state import REST, STATE, TENSORS, FoldStates
from mmclf.training.fold_task import FoldTask
from mmclf.training.loaders import tower_loaders
from tests.conftest import MAX_LEN
from tests.features import part_of

CPU = torch.device("cpu")
ROWS, EPOCHS, BATCH = 20, 3, 4


class EndedError(Exception):
    """The process would be gone."""


@pytest.fixture(scope="module")
def train(clip_folder, catalog, tree):
    """Train a fold in a folder, as a process of its own would: nothing is shared but the folder."""
    changed = copy.deepcopy(tree)
    changed["train"].update(epochs=EPOCHS, batch_size=BATCH, ema=0.9, warmup_ratio=0.2, early_stop_patience=None)
    changed["train"]["lrs"] = {"image_encoder": 1e-3, "text_encoder": 1e-3, "head": 1e-2}
    config = build_config(changed)
    few = part_of(catalog, range(ROWS))
    few = few.__class__(**(few.__dict__ | {"labels": (catalog.labels or [])[:ROWS]}))
    split = Split(few, np.arange(ROWS) % 5 // 4)

    def run(folder, minutes=1e6, lora_rank=None):
        seed_everything(0, "head")
        backbone = load_backbone(config.model.name, None, config.data.img_size, patch_dropout=0.5)
        tokens: Tokens = backbone.tokenize(few.rows.texts, MAX_LEN)
        head = build_head(backbone.identity, config, len(few.classes))
        model = Classifier(backbone, head, Precision(None, False, "test"), clip_trainable=True, lora_rank=lora_rank)
        loaders = tower_loaders(split, 1, config, backbone.spec, tokens, device=CPU)
        torch.rand(7)  # whatever the process did before must not matter
        task = FoldTask("stage2", 1, config, model, *loaders, CPU)
        seen = []
        states = FoldStates(folder, folder / "checkpoint", minutes)
        outcome = train_fold(
            task, split, backbone.spec, states, lambda result, /, is_past=False: seen.append((result.epoch, is_past))
        )
        weights = load_file(folder / "checkpoint" / WEIGHTS)
        return weights, outcome.table.probabilities, seen, json.loads((folder / "checkpoint" / "meta.json").read_text())

    return run


@pytest.fixture(scope="module")
def undisturbed(train, tmp_path_factory):
    return train(tmp_path_factory.mktemp("undisturbed") / "fold")


def assert_same(found, expected):
    assert found[0].keys() == expected[0].keys()
    assert all(torch.equal(tensor, expected[0][name]) for name, tensor in found[0].items())
    assert np.array_equal(found[1], expected[1])
    assert found[3]["metrics"] == expected[3]["metrics"]


def end_at(monkeypatch, call):
    """Ask the process to end at its so manieth look."""
    looks = iter(range(10**6))
    monkeypatch.setattr(stopping, "is_asked", lambda: next(looks) == call)
    monkeypatch.setattr(stopping, "end", lambda: (_ for _ in ()).throw(EndedError()))


# an epoch looks four times in its steps, once while it is validated, once at its end
@pytest.mark.parametrize("call", [0, 2, 3, 4, 5, 7, 11, 16, 17])
def test_ended_at_any_step_it_goes_on_to_the_same(train, undisturbed, tmp_path, monkeypatch, call):
    folder = tmp_path / "fold"
    with monkeypatch.context() as patch:
        end_at(patch, call)
        with pytest.raises(EndedError):
            train(folder)
    found = train(folder)
    assert_same(found, undisturbed)
    done = (call + 1) // 6
    assert found[2] == [*((e, True) for e in range(1, done + 1)), *((e, False) for e in range(done + 1, EPOCHS + 1))]


def test_adapters_go_on_to_the_same_too(train, undisturbed, tmp_path, monkeypatch):
    expected = train(tmp_path / "whole", lora_rank=2)
    assert expected[0].keys() == undisturbed[0].keys()
    with monkeypatch.context() as patch:
        end_at(patch, 7)
        with pytest.raises(EndedError):
            train(tmp_path / "fold", lora_rank=2)
    assert_same(train(tmp_path / "fold", lora_rank=2), expected)


def test_ended_again_and_again(train, undisturbed, tmp_path, monkeypatch):
    folder = tmp_path / "fold"
    for call in (3, 1, 4):
        with monkeypatch.context() as patch:
            end_at(patch, call)
            with pytest.raises(EndedError):
                train(folder)
    assert_same(train(folder), undisturbed)


def test_killed_without_a_word_it_goes_on_from_what_was_kept(train, undisturbed, tmp_path, monkeypatch):
    """Between two states; and while one is written, which leaves the former whole."""
    folder = tmp_path / "fold"
    writes = iter(range(10**6))
    write = FoldStates.write

    def killed(states, position):
        if next(writes) == 7:
            write(states, position)
            raise EndedError
        write(states, position)

    with monkeypatch.context() as patch:
        patch.setattr(FoldStates, "write", killed)
        with pytest.raises(EndedError):
            train(folder, minutes=0)  # every step is kept
    assert_same(train(folder), undisturbed)


@pytest.mark.parametrize("damage", [TENSORS, REST, "best"])
def test_a_damaged_state_starts_the_fold_anew(train, undisturbed, tmp_path, monkeypatch, capsys, damage):
    folder = tmp_path / "fold"
    with monkeypatch.context() as patch:
        end_at(patch, 8)
        with pytest.raises(EndedError):
            train(folder)
    path = folder / STATE / damage
    if damage == "best":
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    else:
        path.write_bytes(path.read_bytes()[:50])
    found = train(folder)
    assert "so this fold starts anew" in capsys.readouterr().err
    assert_same(found, undisturbed)
    assert found[2][0] == (1, False)


def test_a_disk_that_fails_is_said_and_the_training_goes_on(train, undisturbed, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "fold"
    folder.mkdir()
    (folder / STATE).write_text("in the way")
    monkeypatch.setattr("mmclf.training.fold_state.atomic_folder", _no_space)
    assert_same(train(folder, minutes=0), undisturbed)
    assert capsys.readouterr().err.count("the state of the training can't be kept") == 1


def _no_space(path):
    raise OSError(28, "No space left on device", str(path))


def test_a_signal_ends_a_block_that_listens_at_its_next_look_and_others_at_once():
    former = signal.getsignal(signal.SIGINT)  # ignored in a shell's background
    with stopping.handled(lambda words: None), stopping.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping.is_asked()
        with pytest.raises(SystemExit, match="143"):
            stopping.end()
    with stopping.handled(lambda words: None), pytest.raises(SystemExit):
        os.kill(os.getpid(), signal.SIGTERM)
    with stopping.handled(lambda words: None), pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
    assert not stopping.is_asked()
    assert signal.getsignal(signal.SIGINT) is former
