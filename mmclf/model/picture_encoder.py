"""The road from pictures to vectors: each view that shows something else once, a full batch at a time."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ..config import DataConfig
from ..data.distinct_views import DistinctViews
from ..data.images import draft_side
from ..data.images import flip as mirrored
from ..data.picture_batches import decode
from ..data.pictures import Pictures
from ..data.pixel_spool import PixelSpool
from ..data.row_batches import unreadable
from ..data.rows import Rows
from ..data.views import View, views_of_row
from ..runtime.device import pick_workers
from ..runtime.speed import Stopwatch
from ..store.vectors import make_key
from . import speed_kinds
from .large_matrices import allocate, take_means
from .picture_store import PictureStore
from .tower_runner import TowerRunner


@dataclass
class _Work:
    """The distinct pictures of some rows, on their way to features.

    Attributes:
        files: where they come from.
        views: one of each; the first is the placeholder.
        keys: by flip and view, what each feature is kept under.
        features: by flip, float32 (views, image_dim), or with details as `PictureStore` has them.
        is_there: bool (views, flips), which features are known.
        flips: False for the picture, True for its mirror image.
        details: whether those of the last layers and the outlines are wanted too.
        spool: of eval views.
        watch: since the work began.
    """

    files: Pictures
    views: list[View | None]
    keys: list[list[bytes]]
    features: list[np.ndarray]
    is_there: np.ndarray
    flips: Sequence[bool]
    details: bool
    spool: PixelSpool | None
    watch: Stopwatch

    def __post_init__(self) -> None:
        self.is_readable = np.ones(len(self.views), dtype=bool)
        # by flip: place and pixels of what waits until a batch is full
        self.waiting: list[list[tuple[int, torch.Tensor]]] = [[] for _ in self.flips]


class PictureEncoder:
    """The image tower applied to pictures that the cache doesn't hold.

    Attributes:
        unreadable: a sentence for each picture that couldn't be decoded, by its name.
    """

    def __init__(self, runner: TowerRunner, data: DataConfig, *, seed: int, sizes: Sequence[int]) -> None:
        """
        Args:
            runner: of the towers.
            data: how pictures are read.
            seed: of the crops.
            sizes: other sizes that the same pictures are decoded for.
        """
        self.unreadable: dict[str, str] = {}
        self._runner, self._data, self._seed = runner, data, seed
        self._draft = draft_side([runner.spec.transform.img_size, *sizes]) if data.fast_jpeg else None
        self._store = PictureStore.of(runner, self._draft)

    def kind(self, flips: int) -> str:
        """What pictures have a speed in common with; see speed_kinds.py."""
        return speed_kinds.picture_kind(self._runner.towers_used, flips)

    def features(
        self, rows: Rows, epoch: int, flips: Sequence[bool], spool: PixelSpool | None, *, details: bool
    ) -> tuple[list[np.ndarray], np.ndarray]:
        """Features of each row, and bool (rows,), which have a picture that could be decoded; see `Encoder.images`."""
        watch = Stopwatch()
        runner, identity = self._runner, self._runner.spec.identity
        files = self._files(rows)
        distinct = self._distinct(rows, files, epoch)
        keys = [_keys(distinct.contents, flip=flip) for flip in flips]
        width = identity.image_dim + (identity.details_dim if details else 0)
        features = [allocate(len(distinct.views), width, runner.folder) for _ in flips]
        is_there = np.zeros((len(distinct.views), len(flips)), dtype=bool)
        if self._store is not None:
            for flip, (of_flip, out) in enumerate(zip(keys, features, strict=True)):
                is_there[:, flip] = self._store.get(of_flip, out)
        before = is_there.copy()
        work = _Work(files, distinct.views, keys, features, is_there, flips, details, spool, watch)
        missing = np.flatnonzero(~is_there.all(axis=1))
        if not len(missing):
            runner.skip(self.kind(len(flips)))
        # the placeholder only where a row is without a picture, or turns out to be
        self._encode(work, missing[missing > 0] if all(distinct.of_rows) else missing)
        chosen = [[place for place in places if work.is_readable[place]] or [0] for places in distinct.of_rows]
        has_picture = np.array([places != [0] for places in chosen], dtype=bool)
        if not has_picture.all() and not is_there[0].all():
            self._encode(work, np.array([0]))
        asked = np.unique(np.array([place for places in chosen for place in places], dtype=np.int64))
        runner.ledger.count(before[asked], watch)
        gathered = [take_means(each, chosen, runner.folder) for each in features]
        if len(missing):
            runner.settle(self.kind(len(flips)))
        return gathered, has_picture

    def missing_share(self, rows: Rows, epoch: int, flips: Sequence[bool], *, details: bool) -> float:
        """Which share of the views of some rows isn't kept, in [0, 1]; nothing is decoded."""
        if self._store is None:
            return 1.0
        shown = self._distinct(rows, self._files(rows), epoch).contents[1:]
        keys = [key for flip in flips for key in _keys(shown, flip=flip)]
        return 1 - self._store.share(keys, details=details) if keys else 0.0

    def _files(self, rows: Rows) -> Pictures:
        transform, most = self._runner.spec.transform, self._data.max_megapixels
        return Pictures(rows.picture_source, transform, draft=self._draft, max_megapixels=most)

    def _distinct(self, rows: Rows, files: Pictures, epoch: int) -> DistinctViews:
        """What the rows show; told by the contents of their files where features are kept."""
        mode = self._data.multi_image_mode
        of_rows = [views_of_row(rows, row, epoch, mode, self._seed) for row in range(len(rows))]
        return DistinctViews.of(of_rows, files, by_content=self._runner.keeps, complain=self._complain)

    def _encode(self, work: _Work, missing: np.ndarray) -> None:
        """Encode what is missing of the views at these places; marks what couldn't be decoded."""
        if not len(missing):
            return
        runner = self._runner
        batches = decode(
            [work.views[place] for place in missing],
            work.files,
            runner.spec.transform,
            work.spool,
            batch_size=runner.size,
            num_workers=pick_workers(runner.device, self._data.num_workers),
            pin_memory=runner.device.type == "cuda",
        )
        try:
            shown = runner.track(
                runner.paused(batches),
                len(missing),
                "pictures[, pass #]",
                kind=self.kind(len(work.flips)) if missing.any() else "placeholder",
                units=lambda batch: len(batch.numbers) + len(batch.unreadable),
            )
            for batch in work.watch.waiting(shown):
                for number, sentence in batch.unreadable:
                    view = work.views[missing[number]]
                    assert view is not None  # noqa: S101 - the placeholder is always readable
                    work.is_readable[missing[number]] = False
                    self._complain(view.name, sentence)
                places = missing[batch.numbers]
                if len(places) == runner.size and not work.is_there[places].any() and not any(work.waiting):
                    self._run(work, places, batch.images, range(len(work.flips)))  # as it came, on a GPU
                    continue
                for flip, waiting in enumerate(work.waiting):
                    images = zip(places.tolist(), batch.images, strict=True)
                    waiting.extend((p, image) for p, image in images if not work.is_there[p, flip])
                    while len(waiting) >= runner.size:
                        self._run_waiting(work, flip)
            for flip, waiting in enumerate(work.waiting):
                if waiting:
                    self._run_waiting(work, flip)
        finally:
            if self._store is not None:
                self._store.flush()

    def _run_waiting(self, work: _Work, flip: int) -> None:
        """Encode a batch of what waits for one of the flips."""
        part = work.waiting[flip][: self._runner.size]
        del work.waiting[flip][: self._runner.size]
        places = np.array([place for place, _ in part])
        self._run(work, places, torch.stack([image for _, image in part]), [flip])

    def _run(self, work: _Work, places: np.ndarray, images: torch.Tensor, flips: Sequence[int]) -> None:
        """Encode pictures uint8 (n, 3, size, size), as they are or mirrored: `flips` are positions in `work.flips`."""
        runner = self._runner
        moved = images.to(runner.device, non_blocking=True)
        for flip in flips:
            inputs = mirrored(moved) if work.flips[flip] else moved
            backbone = runner.backbone
            encode = backbone.encode_image_in_detail if work.details else backbone.encode_image
            features = runner.run(encode, inputs, runner.size)
            work.features[flip][places] = features
            work.is_there[places, flip] = True
            if self._store is not None:
                self._store.put([work.keys[flip][place] for place in places], features)

    def _complain(self, name: str, sentence: str) -> None:
        if self._data.on_bad_image == "error":
            raise unreadable(sentence)
        self.unreadable[name] = sentence


def _keys(contents: Sequence[str], *, flip: bool) -> list[bytes]:
    """What features of views are kept under."""
    return [make_key(content, "mirrored") if flip else make_key(content) for content in contents]
