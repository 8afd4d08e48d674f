"""The recipe's own model, ViT-L/14 with random weights, trains one batch of each stage within 24 GiB.

.venv/bin/python -m pytest -m slow tests/model/test_vit_l.py
"""

import resource
import subprocess
import sys

import pytest

# in a process of its own, so that its peak memory is its own
SCRIPT = """
import sys
import numpy as np, torch
from PIL import Image
from pathlib import Path
from mmclf.model.loading import load_backbone
from mmclf.data.row_batches import Loader, RowDataset
from mmclf.data.catalog import read_catalog
from mmclf.model.checkpoint import build_head
from mmclf.config import resolve_config
from mmclf.runtime.device import pick_device, pick_precision
from mmclf.model.classifier import Classifier
from mmclf.data.pictures import Pictures
from mmclf.training.loop import fit
from mmclf.training.fold_task import FoldTask

stage, folder = sys.argv[1], Path(sys.argv[2])
config = resolve_config(f"configs/{stage}.yaml", "model.pretrained=null train.epochs=1")
size, batch_size = config.data.img_size, config.train.batch_size
rng = np.random.default_rng(0)
rows = ["id,title,categories"]
for n in range(batch_size):
    Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(folder / f"{n}.png")
    rows.append(f"{n},a product of kind {n % 4},class {n % 4}")
(folder / "train.csv").write_text("\\n".join(rows) + "\\n")
catalog = read_catalog(folder / "train.csv", folder, config.data, training=True)
device = pick_device()
backbone = load_backbone(config.model.name, None, size)
before = backbone.clip.visual.conv1.weight.clone()
head = build_head(backbone.identity, config, len(catalog.classes))
precision = pick_precision(device, config.train.amp)
model = Classifier(backbone, head, precision, clip_trainable=config.model.clip_trainable).to(device)
dataset = RowDataset(catalog.rows, Pictures(catalog.image_root, backbone.transform), "first", 0)
tokens = backbone.tokenize(catalog.rows.texts, config.data.max_len)
targets = catalog.targets(catalog.classes)
train = Loader(dataset, tokens, targets, np.arange(batch_size), batch_size=batch_size, num_workers=0, shuffle_seed=0)
check = Loader(dataset, tokens, targets, np.arange(4), batch_size=4, num_workers=0)
[result] = list(fit(FoldTask("stage2", 0, config, model, train, check, device)))
assert len(train) == 1
assert np.isfinite(result.train_loss)
moved = not torch.equal(before, backbone.clip.visual.conv1.weight.cpu())
assert moved == config.model.clip_trainable
"""


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_one_batch_of_the_recipe_fits_into_24_gib(stage, tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, stage, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{stage}: peak {peak:.1f} GiB")
    assert peak < 24
