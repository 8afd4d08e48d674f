"""Products that are drawn as features and texts, some without a picture or a text."""

import numpy as np

from mmclf.model.head_inputs import HeadInputs

CLASSES = 4
NOUNS = ("lamp", "shirt", "table", "spoon")


def draw_products(rows=120, seed=0, *, without=0.15, noise=1.0):
    """Inputs of a head and their classes int64 (rows,); pictures, texts and words all tell something of the class."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, CLASSES, rows)
    centres = np.random.default_rng(77).normal(size=(2, CLASSES, 12))
    images = centres[0, targets] + noise * rng.normal(size=(rows, 12)) + 3
    texts = centres[1, targets] + noise * rng.normal(size=(rows, 12)) - 2
    missing = rng.random(rows)
    has_picture = missing >= without
    images[~has_picture] = 7.0  # what towers make of a black picture
    strings = []
    for row, target in enumerate(targets):
        noun = NOUNS[target] if rng.random() < 0.7 else rng.choice(NOUNS)
        strings.append("" if missing[row] > 1 - without else f"{noun} number {rng.integers(0, 50)}")
    titles = texts + noise * np.random.default_rng(seed + 1000).normal(size=(rows, 12))
    return HeadInputs.of(
        strings,
        images.astype(np.float32),
        has_picture,
        texts.astype(np.float32),
        titles.astype(np.float32),
        strings,
        outlines=np.abs(images[:, :6] - 3).astype(np.float32),
    ), targets
