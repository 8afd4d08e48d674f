"""A drawn shop in the place of a real catalogue, for benchmarks that read one."""

import pytest

from benchmarks import ablate
from tests.conftest import MAX_LEN


@pytest.fixture
def luma(tmp_path, shop, clip_folder, monkeypatch):
    """The drawn shop under the name of luma."""
    folder = tmp_path / "luma"
    folder.mkdir()
    (folder / "train.csv").symlink_to(shop.train_csv)
    (folder / "images").symlink_to(shop.images)
    monkeypatch.setattr(ablate, "DATA", tmp_path)
    monkeypatch.setattr(ablate, "MAX_LEN", MAX_LEN)
    monkeypatch.setenv("MMCLF_BENCH_MODEL", f"local-dir:{clip_folder}")
