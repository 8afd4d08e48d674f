"""A catalogue as features of frozen towers, and batches of them."""

from collections.abc import Collection, Iterator

import numpy as np
import torch

from ..data.row_batches import EpochSampler
from ..data.rows import Rows
from ..data.views import EVAL
from ..model.classifier import FeatureBatch
from ..model.frozen_encoder import Encoder
from ..model.head_inputs import HeadInputs, PictureFeatures
from ..model.kernels import DETAILS


class TableFeatures:
    """The features of a table: computed when they are first asked for, unless the cache has them."""

    def __init__(self, rows: Rows, encoder: Encoder, *, details: bool = False) -> None:
        """
        Args:
            rows: of the table.
            encoder: of its pictures and texts.
            details: the eval view is always encoded with its details, since a later head reads them.
        """
        self.encoder = encoder
        self._rows = rows
        self._images: dict[int, np.ndarray] = {}
        self._with_details = details
        self._in_detail: PictureFeatures | None = None
        self._has_picture: np.ndarray | None = None
        self._texts: np.ndarray | None = None

    def images(self, view: int) -> np.ndarray:
        """float32 (rows, image_dim): of the eval view (EVAL) or of training view 1, 2, ...; see `Encoder.images`."""
        if view == EVAL and self._with_details:
            self._look_closely()
        if view not in self._images:
            (self._images[view],) = self.encoder.images(self._rows, view)
            if view == EVAL:
                self._has_picture = self.encoder.has_picture
        return self._images[view]

    def head_inputs(self, reads: Collection[str]) -> HeadInputs:
        """The rows of the table as heads are given them, in the eval view.

        Args:
            reads: names of FEATURES that are wanted; the others are left out, as if no row had any.
        """
        detailed = self._look_closely() if DETAILS & set(reads) else None
        images = self.images(EVAL) if "image" in reads else None
        texts = self.texts() if "text" in reads else None
        titles = self.encoder.titles(self._rows) if "title" in reads else None
        layers, outlines = (None, None) if detailed is None else (detailed.layers, detailed.outlines)
        rows = self._rows
        return HeadInputs.of(rows.texts, images, self._has_picture, texts, titles, rows.titles, layers, outlines)

    def _look_closely(self) -> PictureFeatures:
        """Of the eval view, with details."""
        if self._in_detail is None:
            (found,) = self.encoder.images(self._rows, EVAL, details=True)
            self._has_picture = self.encoder.has_picture
            self._in_detail = self.encoder.parted(found)
            self._images[EVAL] = self._in_detail.images
        return self._in_detail

    def texts(self) -> np.ndarray:
        """float32 (rows, text_dim); see `Encoder.texts`."""
        if self._texts is None:
            self._texts = self.encoder.texts(self._rows)
        return self._texts


class FeatureLoader:
    """Batches of features in the order that `Loader` would give the rows in; see there."""

    def __init__(
        self,
        features: TableFeatures,
        targets: np.ndarray,
        rows: np.ndarray,
        *,
        batch_size: int,
        views: int = 0,
        shuffle_seed: int | None = None,
    ) -> None:
        """
        Args:
            features: of the catalogue.
            targets: int64 (rows of the catalogue,).
            rows: int64, positions in the catalogue.
            batch_size: rows a batch.
            views: number of training views, taken in turn; 0 for the eval view in every epoch.
            shuffle_seed: of the order; None for the order of `rows`.
        """
        self.rows = rows
        self.batch_size = batch_size
        self._features = features
        self._targets = torch.from_numpy(targets)
        self._views = views
        self._sampler = EpochSampler(rows, batch_size, shuffle_seed=shuffle_seed)

    def __len__(self) -> int:
        return len(self._sampler)

    @property
    def unreadable(self) -> set[str]:
        """One sentence per picture that couldn't be decoded."""
        return set(self._features.encoder.unreadable.values())

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """Choose order, view and first batch of the next pass; the view is computed now where that is still to do."""
        self._sampler.epoch, self._sampler.start = epoch, start
        self._features.texts()
        self._features.images(self._view(epoch))

    def __iter__(self) -> Iterator[FeatureBatch]:
        """The batches of one pass."""
        images = self._features.images(self._view(self._sampler.epoch))
        texts = self._features.texts()
        for samples in self._sampler:
            rows = np.array([sample.row for sample in samples])
            features = torch.from_numpy(np.concatenate([images[rows], texts[rows]], axis=1))
            yield FeatureBatch(torch.from_numpy(rows), features, self._targets[rows])

    def _view(self, epoch: int) -> int:
        return EVAL if epoch == EVAL or self._views == 0 else (epoch - 1) % self._views + 1
