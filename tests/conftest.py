"""What several test files use: a small drawn shop, a tiny CLIP with random weights, a store of their own."""

import os
from pathlib import Path

# no test may reach a network; set before transformers and huggingface_hub are imported
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import pytest
import torch
from hypothesis import HealthCheck, settings

from demo.catalog import DemoCatalog, draw_catalog
from demo.tiny_clip import make_tiny_clip
from mmclf.config import Config, DataConfig, build_config
from mmclf.data.catalog import Catalog, read_catalog
from mmclf.model.backbone import Backbone
from mmclf.model.loading import load_backbone

SIZE, MAX_LEN = 32, 16

# the same examples in every run, and a busy machine fails nothing; `pytest --hypothesis-profile thorough` takes more
_anywhere = {
    "database": None,
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
}
settings.register_profile("repeatable", derandomize=True, max_examples=60, **_anywhere)
settings.register_profile("thorough", max_examples=3000, **_anywhere)
settings.load_profile("repeatable")


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> DemoCatalog:
    """A few rows of every class."""
    return draw_catalog(tmp_path_factory.mktemp("shop") / "catalog", rows_per_class=6, test_rows_per_class=1)


@pytest.fixture(scope="session")
def catalog(shop: DemoCatalog) -> Catalog:
    return read_catalog(shop.train_csv, shop.images, DataConfig(), training=True)


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's architecture with random weights, as a local-dir: folder."""
    return make_tiny_clip(tmp_path_factory.mktemp("clip") / "tiny", image_size=SIZE, steps=0)


@pytest.fixture
def backbone(clip_folder: Path) -> Backbone:
    return load_backbone(f"local-dir:{clip_folder}", None, SIZE)


@pytest.fixture(scope="session")
def tree(clip_folder: Path) -> dict[str, dict[str, object]]:
    """A configuration of either stage for the tiny CLIP, as a nested mapping that a test may copy and change."""
    return {
        "data": {"img_size": SIZE, "max_len": MAX_LEN},
        "model": {
            "name": f"local-dir:{clip_folder}",
            "pretrained": None,
            "hidden_dim": 32,
            "clip_trainable": False,
        },
        "train": {
            "epochs": 2,
            "batch_size": 16,
            "lrs": {"image_encoder": 1e-3, "text_encoder": 1e-3, "head": 1e-2},
            "folds": 2,
        },
    }


@pytest.fixture
def config(tree: dict[str, dict[str, object]]) -> Config:
    return build_config(tree)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The user's cache is not for tests, those included that start processes."""
    os.environ["MMCLF_CACHE_DIR"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """The models here are so small that threads only get in each other's way."""
    torch.set_num_threads(1)
