"""What `python -m entrypoints.cache` shows and deletes.

.venv/bin/python -m pytest tests/entrypoints/test_cache.py
"""

import json
import os
import time

import numpy as np
import pytest
import torch

from entrypoints import cache as module
from mmclf.data.views import EVAL
from mmclf.model.frozen_encoder import Encoder
from mmclf.model.towers import LazyBackbone
from mmclf.runtime.device import Precision
from mmclf.store.cache import open_cache


@pytest.fixture
def filled(catalog, config, tmp_path, monkeypatch):
    """The cache of a stage 1 with one training view."""
    monkeypatch.setenv("MMCLF_CACHE_DIR", str(tmp_path / "cache"))
    cache = open_cache()
    backbone = LazyBackbone(config.model.name, None, config.data.img_size, cache)
    precision, device = Precision(None, False, ""), torch.device("cpu")
    encoder = Encoder(backbone, config.data, seed=1, precision=precision, device=device, cache=cache)
    encoder.texts(catalog.rows), encoder.images(catalog.rows, EVAL), encoder.images(catalog.rows, 1)
    return tmp_path / "cache"


def run(capsys, *options):
    code = module.main(list(options))
    captured = capsys.readouterr()
    return code, json.loads(captured.out) if captured.out else {}, captured.err


def test_it_lists_what_there_is(filled, catalog, clip_folder, capsys):
    code, figures, shown = run(capsys)
    assert code == 0
    files = [path for path in filled.rglob("*") if path.is_file()]
    assert figures["bytes"] == sum(path.stat().st_size for path in files)
    assert figures["folder"] == str(filled)
    assert f"{figures['limit'] / 2**30:.1f} GiB" in shown
    assert f"{len(set(catalog.rows.texts)):,} entries" in shown
    assert "of texts, 16 tokens, float32 on cpu" in shown
    assert "of pictures, 32 pixels, float32 on cpu" in shown
    assert str(clip_folder) in shown
    assert "what is known of them without loading" in shown
    assert "used today" in shown


def test_it_deletes_a_kind_or_everything(filled, capsys):
    code, figures, _ = run(capsys, "--clear", "backbones")
    assert code == 0
    assert figures["deleted_files"] == 1
    assert not [path for path in filled.glob("backbones/**/*") if path.is_file()]
    assert list(filled.glob("features/*/*.safetensors"))
    run(capsys, "--clear", "all")
    assert not [path for path in filled.rglob("*") if path.is_file()]
    code, figures, _ = run(capsys)
    assert (code, figures["bytes"], figures["entries"]) == (0, 0, 0)


def test_it_deletes_what_was_not_used_for_days(filled, capsys):
    old = sorted(filled.glob("features/*/*.safetensors"))[0]
    before = time.time() - 40 * 24 * 3600
    os.utime(old, (before, before))
    _, figures, _ = run(capsys, "--clear", "all", "--unused-days", "30")
    assert figures["deleted_files"] == 1
    assert not old.exists()


def test_other_files_in_the_folder_are_left_alone(filled, capsys):
    (filled / "mine.txt").write_text("keep")
    run(capsys, "--clear", "all")
    assert (filled / "mine.txt").read_text() == "keep"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--clear", "some"], "--clear: found 'some'; give all, features, backbones"),
        (["--clear", "all", "--unused-days", "many"], "--unused-days: found 'many'; give a number of days"),
        (["--unused-days", "3"], "goes with --clear"),
    ],
)
def test_what_cannot_be_done_is_said(filled, capsys, options, expected):
    before = len(list(filled.rglob("*")))
    code, _, complaint = run(capsys, *options)
    assert code == 2
    assert expected in complaint
    assert len(list(filled.rglob("*"))) == before


def test_an_empty_cache_is_no_error(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MMCLF_CACHE_DIR", str(tmp_path / "none"))
    code, figures, shown = run(capsys)
    assert (code, figures["entries"]) == (0, 0)
    assert np.isfinite(figures["limit"])
    assert str(tmp_path / "none") in shown
