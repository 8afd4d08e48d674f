"""Features of frozen towers: each view of a picture and each text is encoded once, whatever the folds and epochs.

A feature is found again by what it was computed from: the towers (weights, activation, img_size, precision), the
transform, the content of the picture file and the seed of its crop, or the text. So another head, another split or
another table with the same products computes nothing. How they are kept: shelf.py.
"""

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import torch
from torch.utils.data import DataLoader, Dataset

from ..config import DataConfig
from ..data.batches import EVAL, EpochSampler, FeatureBatch, views_of_row
from ..data.catalog import Catalog
from ..data.pictures import Pictures, View
from ..errors import PictureError
from ..runtime.device import Precision, encoding_batch, pick_workers
from ..runtime.progress import track
from ..runtime.speed import Stopwatch
from ..store.cache import Cache
from ..store.vectors import Shelf, make_key
from .classifier import mean_by_row
from .identity import BackboneCard, recall, remember

if TYPE_CHECKING:  # importing open_clip takes seconds, which a run on stored features doesn't need
    from .backbone import Backbone

# of the way features are computed here; another number leaves the stored ones unused
VERSION = 1
# a matrix that would take more than this share of the memory lies in a file
MEMORY_SHARE = 0.25
GATHER_ROWS = 65_536


class LazyBackbone:
    """A backbone that is loaded when its towers are first needed, and known before where the cache knows it."""

    def __init__(self, name: str, pretrained: str | None, img_size: int, cache: Cache) -> None:
        """See `load_backbone`, which the first three arguments are for."""
        self._key = (name, pretrained, img_size)
        self._cache = cache
        self._loaded: Backbone | None = None
        self._card = recall(cache, *self._key)

    @property
    def card(self) -> BackboneCard:
        """Identity and transform; loads the towers where the cache doesn't know them."""
        if self._card is None:
            self._card = self.load().card
            remember(self._cache, self._card, *self._key[:2])
        return self._card

    def load(self) -> "Backbone":
        """The towers, on the CPU at first; always the same object.

        Raises:
            BackboneError: see `load_backbone`.
        """
        if self._loaded is None:
            from .backbone import load_backbone

            self._loaded = load_backbone(*self._key)
        return self._loaded


@dataclass
class Ledger:
    """What encoding took. `reused` and `computed` count views and texts; `wait` is the share spent on data."""

    computed: int = 0
    reused: int = 0
    seconds: float = 0.0
    wait_seconds: float = 0.0

    def figures(self) -> dict[str, float]:
        """Under the names of the charts."""
        figures = {"features/computed": self.computed, "features/reused": self.reused, "features/seconds": self.seconds}
        if self.computed:
            figures["features/rows_per_second"] = self.computed / self.seconds
            figures["features/data_wait"] = self.wait_seconds / self.seconds
        return figures


class Features:
    """The features of a catalogue: computed when they are first asked for, unless the cache has them.

    Attributes:
        unreadable: one sentence per picture that couldn't be decoded.
        truncated: number of rows whose text didn't fit, once `texts` was called.
        ledger: what was computed and how long it took.
    """

    def __init__(
        self,
        catalog: Catalog,
        backbone: LazyBackbone,
        data: DataConfig,
        *,
        seed: int,
        precision: Precision,
        device: torch.device,
        cache: Cache,
        compiled: bool = False,
    ) -> None:
        """`seed` is that of the crops; the towers run on `device` in `precision`, `compiled` or not."""
        self.unreadable: set[str] = set()
        self.truncated = 0
        self.ledger = Ledger()
        self._catalog = catalog
        self._backbone = backbone
        self._data = data
        self._seed = seed
        self._precision = precision
        self._device = device
        self._cache = cache
        self._compiled = compiled
        card = backbone.card
        self._pictures = Pictures(catalog.image_root, card.transform, cache=None, draft=data.fast_jpeg)
        self._kept_pictures = Pictures(catalog.image_root, card.transform, cache=cache, draft=data.fast_jpeg)
        self._images: dict[int, np.ndarray] = {}
        self._texts: np.ndarray | None = None
        # without the backbone's name: the same weights under two names share their features
        towers = {
            "version": VERSION,
            "weights_sha256": card.identity.weights_sha256,
            "activation": card.identity.activation,
            "precision": f"{precision.name} on {device.type}",
        }
        image = {"kind": "pictures", "transform": vars(card.transform), "draft": data.fast_jpeg}
        text = {"kind": "texts", "max_len": data.max_len, "tokenizer": card.tokenizer}
        self._image_shelf = Shelf(cache, towers | image, card.identity.image_dim, note=card.identity.name)
        # with a last column that is 1 where the text was cut
        self._text_shelf = Shelf(cache, towers | text, card.identity.text_dim + 1, note=card.identity.name)

    @property
    def width(self) -> int:
        """image_dim + text_dim."""
        identity = self._backbone.card.identity
        return identity.image_dim + identity.text_dim

    def images(self, view: int) -> np.ndarray:
        """float32 (rows, image_dim): of the eval view (EVAL) or of training view 1, 2, ...; means over the pictures.

        Raises:
            PictureError: an unreadable picture, with `data.on_bad_image: error`.
            BackboneError: the towers are needed and can't be loaded.
        """
        if view not in self._images:
            self._images[view] = self._encode_view(view)
        return self._images[view]

    def texts(self) -> np.ndarray:
        """float32 (rows, text_dim).

        Raises:
            BackboneError: the towers are needed and can't be loaded.
        """
        if self._texts is None:
            watch = Stopwatch()
            position: dict[str, int] = {}
            row_of = np.array([position.setdefault(text, len(position)) for text in self._catalog.texts])
            texts = list(position)
            found = _allocate(len(texts), self._backbone.card.identity.text_dim + 1, self._cache)
            there = self._text_shelf.get([make_key(text) for text in texts], found)
            missing = np.flatnonzero(~there)
            if len(missing):
                self._encode_texts([texts[i] for i in missing], missing, found)
            self._count(there, watch)
            self.truncated = int(found[row_of, -1].sum())
            self._texts = _allocate(len(row_of), found.shape[1] - 1, self._cache)
            for start in range(0, len(row_of), GATHER_ROWS):
                rows = row_of[start : start + GATHER_ROWS]
                self._texts[start : start + len(rows)] = found[rows, :-1]
        return self._texts

    def _encode_view(self, number: int) -> np.ndarray:
        watch = Stopwatch()
        digest_of = self._digests(number)
        chosen: list[list[int]] = []
        contents: dict[bytes, int] = {make_key("placeholder"): 0}
        first: list[View | None] = [None]  # one view of each content
        for row in range(len(self._catalog)):
            places = []
            for view in views_of_row(self._catalog, row, number, self._data.multi_image_mode, self._seed):
                digest = digest_of.get(view.name)
                if digest is None:
                    continue  # the file can't be read
                key = make_key(digest, str(view.seed))
                if key not in contents:
                    contents[key] = len(first)
                    first.append(view)
                places.append(contents[key])
            chosen.append(places)
        found = _allocate(len(first), self._backbone.card.identity.image_dim, self._cache)
        there = self._image_shelf.get(list(contents), found)
        missing = np.flatnonzero(~there)
        readable = np.ones(len(first), dtype=bool)
        if len(missing):
            name = "encoding pictures" if number == EVAL else f"encoding pictures, view {number}"
            self._encode_pictures(name, [first[i] for i in missing], missing, list(contents), found, readable, watch)
        self._count(there | ~readable, watch)
        return self._gather(found, [[p for p in places if readable[p]] or [0] for places in chosen])

    def _digests(self, number: int) -> dict[str, str]:
        """Digest of the content of each picture file that is needed; without the files that can't be read."""
        names: dict[str, None] = {}
        for row in range(len(self._catalog)):
            for view in views_of_row(self._catalog, row, number, self._data.multi_image_mode, self._seed):
                names[view.name] = None

        def digest(name: str) -> str | None:
            try:
                return self._kept_pictures.digest(name)
            except PictureError as error:
                self._complain(str(error))
                return None

        with ThreadPoolExecutor(8) as pool:  # waits for the disk, and hashing lets other threads run
            digests = pool.map(digest, names)
            return {name: found for name, found in zip(names, digests, strict=True) if found is not None}

    def _encode_pictures(
        self,
        name: str,
        views: Sequence[View | None],
        places: np.ndarray,
        keys: Sequence[bytes],
        out: np.ndarray,
        readable: np.ndarray,
        watch: Stopwatch,
    ) -> None:
        """Encode views (None is the placeholder) into the rows `places` of `out`; marks what couldn't be decoded."""
        # several training views are cut from one picture, which is then worth keeping; the eval view is needed once
        augmented = any(view is not None and view.seed is not None for view in views)
        dataset = _ViewDataset(views, self._kept_pictures if augmented else self._pictures)
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_size=encoding_batch(self._device),
            num_workers=pick_workers(self._device, self._data.num_workers),
            collate_fn=_stack,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),
        )
        try:
            for numbers, images, bad in watch.waiting(track(loader, len(loader), name)):
                for number, reason in bad:
                    readable[places[number]] = False
                    self._complain(reason)
                if not len(numbers):
                    continue
                rows = places[numbers.numpy()]
                out[rows] = self._run(self._towers().encode_image, images)
                self._image_shelf.put([keys[row] for row in rows], out[rows])
        finally:
            self._image_shelf.flush()

    def _encode_texts(self, texts: Sequence[str], places: np.ndarray, out: np.ndarray) -> None:
        """Encode texts into the rows `places` of `out`, the short ones first, so that a batch has little padding."""
        towers = self._towers()
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        size = encoding_batch(self._device)
        try:
            # tokenised in parts, so that no table is too long for the memory
            for start in track(range(0, len(texts), 64 * size), -(-len(texts) // (64 * size)), "encoding texts"):
                part = np.array(by_length[start : start + 64 * size])
                tokens = towers.tokenize([texts[i] for i in part], self._data.max_len)
                order = torch.argsort(tokens.attention_mask.sum(dim=1), stable=True)
                lengths = tokens.attention_mask.sum(dim=1)[order]
                for chosen in _batches_of_texts(order, lengths, size):
                    input_ids, _ = tokens.batch(chosen)
                    rows = places[part[chosen.numpy()]]
                    out[rows, :-1] = self._run(towers.encode_text, input_ids)
                    out[rows, -1] = tokens.is_truncated[chosen].numpy()
                    keys = [make_key(texts[i]) for i in part[chosen.numpy()]]
                    self._text_shelf.put(keys, out[rows])
        finally:
            self._text_shelf.flush()

    def _run(self, encode: Any, inputs: torch.Tensor) -> np.ndarray:
        with torch.inference_mode(), self._precision.autocast(self._device):
            features: torch.Tensor = encode(inputs.to(self._device, non_blocking=True))
        return features.float().cpu().numpy()

    def _towers(self) -> Any:
        towers = self._backbone.load().to(self._device)
        if self._compiled:
            towers.compile_towers()
        return towers

    def _gather(self, found: np.ndarray, chosen: list[list[int]]) -> np.ndarray:
        """Mean over the pictures of each row."""
        rows = _allocate(len(chosen), found.shape[1], self._cache)
        for start in range(0, len(chosen), GATHER_ROWS):
            part = chosen[start : start + GATHER_ROWS]
            row_of = torch.repeat_interleave(torch.arange(len(part)), torch.tensor([len(places) for places in part]))
            features = torch.from_numpy(found[[place for places in part for place in places]])
            rows[start : start + len(part)] = mean_by_row(features, row_of, len(part)).numpy()
        return rows

    def _complain(self, reason: str) -> None:
        if self._data.on_bad_image == "error":
            raise PictureError(f"unreadable picture {reason}; mend or remove it, or set data.on_bad_image=placeholder")
        self.unreadable.add(reason)

    def _count(self, there: np.ndarray, watch: Stopwatch) -> None:
        self.ledger.reused += int(there.sum())
        self.ledger.computed += int((~there).sum())
        if not there.all():
            self.ledger.seconds += watch.seconds
            self.ledger.wait_seconds += watch.wait


class FeatureLoader:
    """Batches of features in the order that `Loader` would give the rows in; see there."""

    def __init__(
        self,
        features: Features,
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
        return self._features.unreadable

    def set_epoch(self, epoch: int) -> None:
        """Choose order and view of the next pass; the view is computed now where that is still to be done."""
        self._sampler.epoch = epoch
        self._features.texts()
        self._features.images(self._view(epoch))

    def __iter__(self) -> Iterator[FeatureBatch]:
        """The batches of one pass."""
        images = self._features.images(self._view(self._sampler.epoch))
        texts = self._features.texts()
        for keys in self._sampler:
            rows = np.array([row for row, _ in keys])
            features = torch.from_numpy(np.concatenate([images[rows], texts[rows]], axis=1))
            yield FeatureBatch(torch.from_numpy(rows), features, self._targets[rows])

    def _view(self, epoch: int) -> int:
        return EVAL if epoch == EVAL or self._views == 0 else (epoch - 1) % self._views + 1


class _ViewDataset(Dataset[tuple[int, torch.Tensor | str]]):
    """Views one at a time, as loader workers make them: the number, and the picture or why there is none."""

    def __init__(self, views: Sequence[View | None], pictures: Pictures) -> None:
        self._views = views
        self._pictures = pictures

    def __len__(self) -> int:
        return len(self._views)

    def __getitem__(self, number: int) -> tuple[int, torch.Tensor | str]:
        view = self._views[number]
        if view is None:
            return number, self._pictures.placeholder()
        try:
            return number, self._pictures.view(view)
        except PictureError as error:
            return number, str(error)


def _stack(items: Sequence[tuple[int, torch.Tensor | str]]) -> tuple[torch.Tensor, torch.Tensor, list[tuple[int, str]]]:
    numbers = [number for number, made in items if isinstance(made, torch.Tensor)]
    images = [made for _, made in items if isinstance(made, torch.Tensor)]
    bad = [(number, made) for number, made in items if isinstance(made, str)]
    return torch.tensor(numbers, dtype=torch.int64), torch.stack(images) if images else torch.empty(0), bad


def _batches_of_texts(order: torch.Tensor, lengths: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
    """Split rows, sorted by length, into batches: `size` long ones, or more where they are short."""
    start = 0
    while start < len(order):
        count = size
        # the longest of the batch is its last
        while start + 2 * count <= len(order) and 2 * count * int(lengths[start + 2 * count - 1]) <= 64 * size:
            count *= 2
        yield order[start : start + count]
        start += count


def _allocate(rows: int, width: int, cache: Cache) -> np.ndarray:
    """An empty float32 (rows, width), in a file without a name where it would take too much of the memory."""
    if 4 * rows * width <= MEMORY_SHARE * psutil.virtual_memory().total:
        return np.empty((rows, width), dtype=np.float32)
    cache.root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=cache.root) as file:
        return np.memmap(file, dtype=np.float32, mode="w+", shape=(rows, width))
