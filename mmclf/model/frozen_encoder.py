"""Features of frozen towers: the one road from pictures and texts to vectors, for training and for scoring.

A feature is found again by what it was computed from: the towers (weights, activation, img_size, precision), the
transform, the content of the picture file and the seed of its crop, or the text. So another head, another split or
another table with the same products computes nothing.

A feature is the same to the bit whatever was computed beside it. The arithmetic of a batch depends on its shape, so a
shape is a function of the row alone (see docs/adr/0014): pictures go `encoding_batch` at a time, texts of one padded
length together, and a batch that isn't full is filled up. Without a store, where a single row must be answered quickly,
a batch isn't filled up, but for one alone.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import psutil
import torch

from ..config import DataConfig
from ..data.images import draft_side
from ..data.images import flip as mirrored
from ..data.picture_batches import decode
from ..data.pictures import Pictures
from ..data.pixel_spool import PixelSpool
from ..data.row_batches import unreadable
from ..data.rows import Rows
from ..data.text import LENGTH_STEP, Tokens, portions, text_batches, text_sizes
from ..data.views import EVAL, View, views_of_row
from ..errors import PictureError
from ..runtime.device import Precision, encoding_batch, pick_workers
from ..runtime.progress import current, track
from ..runtime.speed import Ledger, Stopwatch
from ..store.cache import Cache
from ..store.vectors import VectorStore, make_key
from . import speed_kinds
from .pooling import mean_by_row
from .towers import Towers

T = TypeVar("T")
# of the way features are computed here; another number leaves the stored ones unused
VERSION = 2
# a matrix that would take more than this share of the memory lies in a file
MEMORY_SHARE = 0.25
GATHER_ROWS = 65_536
TOKENIZED_CHARACTERS = 100_000  # at a time; they take up to half a second
SAMPLE = 64  # rows that tell how much is missing


@dataclass
class _Pictures:
    """The distinct pictures of some rows, on their way to features.

    Attributes:
        files: where they come from.
        views: one of each; the first is the placeholder.
        keys: by flip and view, what each feature is kept under.
        features: by flip, float32 (views, image_dim, or image_dim + layers_dim).
        is_there: bool (views, flips), which features are known.
        flips: False for the picture, True for its mirror image.
        layers: whether those of the last layers are wanted too.
        spool: of eval views.
        watch: since the work began.
    """

    files: Pictures
    views: list[View | None]
    keys: list[list[bytes]]
    features: list[np.ndarray]
    is_there: np.ndarray
    flips: Sequence[bool]
    layers: bool
    spool: PixelSpool | None
    watch: Stopwatch

    def __post_init__(self) -> None:
        self.is_readable = np.ones(len(self.views), dtype=bool)
        # by flip: place and pixels of what waits until a batch is full
        self.waiting: list[list[tuple[int, torch.Tensor]]] = [[] for _ in self.flips]


class Encoder:
    """Frozen towers applied to rows; what the cache holds isn't computed, and the towers not loaded for it.

    Attributes:
        unreadable: a sentence for each picture that couldn't be decoded, by its name.
        truncated: number of rows of the last `texts` whose text didn't fit.
        is_cut: bool (rows,), which they are.
        has_picture: bool (rows,), which rows of the last `images` have a picture that could be decoded.
        ledger: what was computed and how long it took.
    """

    def __init__(
        self,
        towers: Towers,
        data: DataConfig,
        *,
        precision: Precision,
        device: torch.device,
        cache: Cache | None,
        seed: int = 0,
        sizes: Sequence[int] = (),
        max_batch: int | None = None,
        compiled: bool = False,
        quiet: bool = False,
        pause: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        """
        Args:
            towers: in eval mode.
            data: how pictures and texts are read.
            precision: of the towers.
            device: they are moved to.
            cache: where features are kept; None keeps none, for towers that no name stands for.
            seed: of the crops.
            sizes: other sizes that the same pictures are decoded for.
            max_batch: pictures or texts at a time, at most, where none are kept; else what the device is fastest with.
            compiled: run the towers through torch.compile.
            quiet: no progress bars.
            pause: entered while the next batch is made, when others may use the towers; what it raises ends the work.
        """
        self.unreadable: dict[str, str] = {}
        self.truncated = 0
        self.is_cut = np.empty(0, dtype=bool)
        self.has_picture = np.empty(0, dtype=bool)
        self.ledger = Ledger()
        self._towers, self._data, self._seed = towers, data, seed
        self._precision, self._device, self._cache = precision, device, cache
        full = encoding_batch(device)
        # what is kept is computed in one shape, whoever asks for it
        self._size = full if cache is not None or max_batch is None else min(full, max(2, max_batch))
        self._compiled, self._quiet = compiled, quiet
        self._pause = pause
        self._loaded: Any = None  # the backbone, once it was needed
        spec = towers.spec
        self._draft = draft_side([spec.transform.img_size, *sizes]) if data.fast_jpeg else None
        self._image_store = self._layer_store = self._text_store = None
        if cache is not None:
            # without the backbone's name: the same weights under two names share their features
            common = {
                "version": VERSION,
                "weights_sha256": spec.identity.weights_sha256,
                "activation": spec.identity.activation,
                "precision": f"{precision.name} on {device.type}{', compiled' if compiled else ''}",
            }
            image = {"kind": "pictures", "transform": vars(spec.transform), "draft": self._draft}
            text = {"kind": "texts", "max_len": data.max_len, "tokenizer": spec.tokenizer}
            note = spec.identity.name
            self._image_store = VectorStore(cache, common | image, spec.identity.image_dim, note=note)
            layers = image | {"kind": "last layers"}
            self._layer_store = VectorStore(cache, common | layers, spec.identity.layers_dim, note=note)
            # with a last column that is 1 where the text was cut
            self._text_store = VectorStore(cache, common | text, spec.identity.text_dim + 1, note=note)

    def images(
        self,
        rows: Rows,
        epoch: int = EVAL,
        *,
        flips: Sequence[bool] = (False,),
        spool: PixelSpool | None = None,
        layers: bool = False,
    ) -> list[np.ndarray]:
        """Image features of each row: the mean over its pictures; black where it has none that can be decoded.

        Args:
            rows: the products.
            epoch: of the random crops; EVAL for the eval view.
            flips: False for the picture, True for its mirror image.
            spool: where eval views that were decoded at this size lie, and where those wanted later are put.
            layers: those of the image tower's last layers too, where it tells them.

        Returns:
            float32 (rows, image_dim) for each of `flips`; with layers (rows, image_dim + layers_dim), see `parted`.

        Raises:
            PictureError: an unreadable picture, with `data.on_bad_image: error`.
            BackboneError: the towers are needed and can't be loaded.
        """
        watch = Stopwatch()
        files = Pictures(
            rows.picture_source,
            self._towers.spec.transform,
            draft=self._draft,
            max_megapixels=self._data.max_megapixels,
        )
        of_rows = [views_of_row(rows, row, epoch, self._data.multi_image_mode, self._seed) for row in range(len(rows))]
        content = self._contents(files, [view for views in of_rows for view in views])
        views: list[View | None] = [None]
        place_of: dict[str, int] = {}  # by content
        chosen: list[list[int]] = []
        for of_row in of_rows:
            places = []
            for view in of_row:
                if view not in content:
                    continue  # its file can't be read
                place = place_of.setdefault(content[view], len(views))
                if place == len(views):
                    views.append(view)
                places.append(place)
            chosen.append(places)
        names = ["placeholder", *place_of]
        keys = [[make_key(name, "mirrored") if flip else make_key(name) for name in names] for flip in flips]
        identity = self._towers.spec.identity
        layers = layers and identity.layers_dim > 0
        width = identity.image_dim + (identity.layers_dim if layers else 0)
        features = [self._allocate(len(views), width) for _ in flips]
        is_there = np.zeros((len(views), len(flips)), dtype=bool)
        if self._image_store is not None and self._layer_store is not None:
            for flip, (of_flip, out) in enumerate(zip(keys, features, strict=True)):
                images, of_layers = self.parted(out)
                is_there[:, flip] = self._image_store.get(of_flip, images)
                if layers:
                    is_there[:, flip] &= self._layer_store.get(of_flip, of_layers)
        before = is_there.copy()
        work = _Pictures(files, views, keys, features, is_there, flips, layers, spool, watch)
        missing = np.flatnonzero(~is_there.all(axis=1))
        if not len(missing):
            self._skip(self.picture_kind(len(flips)))
        # the placeholder only where a row is without a picture, or turns out to be
        self._encode_pictures(work, missing[missing > 0] if all(chosen) else missing)
        chosen = [[place for place in places if work.is_readable[place]] or [0] for places in chosen]
        if any(places == [0] for places in chosen) and not is_there[0].all():
            self._encode_pictures(work, np.array([0]))
        self.has_picture = np.array([places != [0] for places in chosen], dtype=bool)
        asked = np.unique(np.array([place for places in chosen for place in places], dtype=np.int64))
        self.ledger.count(before[asked], watch)
        gathered = [self._gather(each, chosen) for each in features]
        self._settle(self.picture_kind(len(flips)), missing)
        return gathered

    def missing(
        self, rows: Rows, epochs: Sequence[int] = (EVAL,), flips: Sequence[bool] = (False,), *, layers: bool = False
    ) -> list[float]:
        """Which share of the views of each epoch isn't kept, in [0, 1], by a sample of the rows; nothing is decoded.

        Args:
            rows: the products.
            epochs: of the views.
            flips: see `images`, as of `layers`.
            layers: count a view as kept only with its last layers.
        """
        if self._image_store is None or not len(rows):
            return [1.0] * len(epochs)
        drawn = rows.take(np.unique(np.linspace(0, len(rows) - 1, SAMPLE).astype(int)))
        files = Pictures(drawn.picture_source, self._towers.spec.transform, draft=self._draft)
        mode = self._data.multi_image_mode
        stores = [self._image_store]
        if layers and self._layer_store is not None and self._towers.spec.identity.layers_dim:
            stores.append(self._layer_store)
        found = []
        for epoch in epochs:
            of_rows = [views_of_row(drawn, row, epoch, mode, self._seed) for row in range(len(drawn))]
            shown = self._contents(files, [view for views in of_rows for view in views]).values()
            keys = {make_key(name, "mirrored") if flip else make_key(name) for name in shown for flip in flips}
            kept = [float(store.has(list(keys)).mean()) for store in stores] if keys else [1.0]
            found.append(1 - min(kept))
        return found

    def missing_texts(self, texts: Sequence[str]) -> float:
        """Which share of texts isn't kept, in [0, 1], by a sample."""
        if self._text_store is None or not texts:
            return 1.0
        drawn = {texts[n] for n in np.unique(np.linspace(0, len(texts) - 1, SAMPLE).astype(int))}
        return 1 - float(self._text_store.has([make_key(text) for text in drawn]).mean())

    def picture_kind(self, flips: int = 1) -> str:
        """What pictures have a speed in common with; see speed_kinds.py."""
        return speed_kinds.picture_kind(self._towers_used, flips)

    @property
    def text_kind(self) -> str:
        """What texts have a speed in common with."""
        return speed_kinds.text_kind(self._towers_used)

    @property
    def _towers_used(self) -> str:
        identity, size = self._towers.spec.identity, self._towers.spec.transform.img_size
        return speed_kinds.towers_used(
            identity.name, identity.pretrained, size, self._precision.name, compiled=self._compiled
        )

    def parted(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Picture features of `images`: (n, image_dim), and (n, layers_dim), 0 wide where they weren't asked for."""
        width = self._towers.spec.identity.image_dim
        return features[:, :width], features[:, width:]

    def texts(self, rows: Rows, *, memo: dict[tuple[str, int], Tokens] | None = None) -> np.ndarray:
        """Text features of each row, float32 (rows, text_dim).

        Args:
            rows: the products.
            memo: keeps tokens for other towers that read the same rows by the same tokenizer.

        Raises:
            BackboneError: the towers are needed and can't be loaded.
        """
        features, truncated = self._strings(rows.texts, memo)
        self.is_cut = truncated > 0
        self.truncated = int(self.is_cut.sum())
        return features

    def titles(self, rows: Rows) -> tuple[np.ndarray, np.ndarray] | None:
        """Features float32 (rows, text_dim) of the first text fields, and bool (rows,), which aren't empty.

        None where there is only one field. Errors as for `texts`.
        """
        if rows.titles is None:
            return None
        return self._strings(rows.titles)[0], np.array([bool(title) for title in rows.titles], dtype=bool)

    def _strings(
        self, strings: Sequence[str], memo: dict[tuple[str, int], Tokens] | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features float32 (n, text_dim) of n texts, and which were cut: 1.0, else 0.0, float32 (n,)."""
        watch = Stopwatch()
        position: dict[str, int] = {}
        row_of = np.array([position.setdefault(text, len(position)) for text in strings], dtype=np.int64)
        texts = list(position)
        found = self._allocate(len(texts), self._towers.spec.identity.text_dim + 1)
        there = np.zeros(len(texts), dtype=bool)
        if self._text_store is not None:
            there = self._text_store.get([make_key(text) for text in texts], found)
        missing = np.flatnonzero(~there)
        if len(missing):
            self._encode_texts([texts[i] for i in missing], missing, found, memo)
        else:
            self._skip(self.text_kind)
        self.ledger.count(there, watch)
        features = self._allocate(len(row_of), found.shape[1] - 1)
        for start in range(0, len(row_of), GATHER_ROWS):
            part = row_of[start : start + GATHER_ROWS]
            features[start : start + len(part)] = found[part, :-1]
        self._settle(self.text_kind, missing)
        return features, found[row_of, -1]

    def _contents(self, files: Pictures, views: Sequence[View]) -> dict[View, str]:
        """What a view shows: by the content of its file where features are kept, else by its name.

        Files that can't be read are left out.
        """
        if self._cache is None:
            return {view: f"{view.name}\x1f{view.seed}" for view in views}

        def digest(name: str) -> str | None:
            try:
                return files.digest(name)
            except PictureError as error:
                self._complain(name, str(error))
                return None

        names = list(dict.fromkeys(view.name for view in views))
        with ThreadPoolExecutor(8) as pool:  # waits for the disk, and hashing lets other threads run
            digests = dict(zip(names, pool.map(digest, names), strict=True))
        return {view: f"{digests[view.name]}\x1f{view.seed}" for view in views if digests[view.name] is not None}

    def _encode_pictures(self, work: _Pictures, missing: np.ndarray) -> None:
        """Encode what is missing of the views at these places; marks what couldn't be decoded."""
        if not len(missing):
            return
        batches = decode(
            [work.views[place] for place in missing],
            work.files,
            self._towers.spec.transform,
            work.spool,
            batch_size=self._size,
            num_workers=pick_workers(self._device, self._data.num_workers),
            pin_memory=self._device.type == "cuda",
        )
        try:
            shown = track(
                self._paused(batches),
                len(missing),
                "pictures[, pass #]",
                kind=self.picture_kind(len(work.flips)) if missing.any() else "placeholder",
                units=lambda batch: len(batch.numbers) + len(batch.unreadable),
                quiet=self._quiet,
            )
            for batch in work.watch.waiting(shown):
                for number, sentence in batch.unreadable:
                    view = work.views[missing[number]]
                    assert view is not None  # noqa: S101 - the placeholder is always readable
                    work.is_readable[missing[number]] = False
                    self._complain(view.name, sentence)
                places = missing[batch.numbers]
                if len(places) == self._size and not work.is_there[places].any() and not any(work.waiting):
                    self._run_pictures(work, places, batch.images, range(len(work.flips)))  # as it came, on a GPU
                    continue
                for flip, waiting in enumerate(work.waiting):
                    images = zip(places.tolist(), batch.images, strict=True)
                    waiting.extend((p, image) for p, image in images if not work.is_there[p, flip])
                    while len(waiting) >= self._size:
                        self._run_waiting(work, flip)
            for flip, waiting in enumerate(work.waiting):
                if waiting:
                    self._run_waiting(work, flip)
        finally:
            for store in (self._image_store, self._layer_store):
                if store is not None:
                    store.flush()

    def _run_waiting(self, work: _Pictures, flip: int) -> None:
        """Encode a batch of what waits for one of the flips."""
        part = work.waiting[flip][: self._size]
        del work.waiting[flip][: self._size]
        places = np.array([place for place, _ in part])
        self._run_pictures(work, places, torch.stack([image for _, image in part]), [flip])

    def _run_pictures(self, work: _Pictures, places: np.ndarray, images: torch.Tensor, flips: Sequence[int]) -> None:
        """Encode pictures uint8 (n, 3, size, size), as they are or mirrored: `flips` are positions in `work.flips`."""
        moved = images.to(self._device, non_blocking=True)
        for flip in flips:
            inputs = mirrored(moved) if work.flips[flip] else moved
            backbone = self._backbone()
            encode = backbone.encode_image_and_layers if work.layers else backbone.encode_image
            features = self._run(encode, inputs, self._size)
            work.features[flip][places] = features
            work.is_there[places, flip] = True
            if self._image_store is not None and self._layer_store is not None:
                keys = [work.keys[flip][place] for place in places]
                projected, layers = self.parted(features)
                self._image_store.put(keys, projected)
                if work.layers:
                    self._layer_store.put(keys, layers)

    def _encode_texts(
        self, texts: Sequence[str], places: np.ndarray, out: np.ndarray, memo: dict[tuple[str, int], Tokens] | None
    ) -> None:
        """Encode texts into the rows `places` of `out`, those of one length together."""
        backbone = self._backbone()
        sizes = text_sizes(texts, self._data.max_len)
        shown = track(
            self._text_batches(texts, memo),
            sum(sizes),
            "texts[, pass #]",
            kind=self.text_kind,
            units=lambda batch: sum(sizes[i] for i in batch[0]),
            quiet=self._quiet,
        )
        try:
            for chosen, input_ids, is_cut, size in shown:
                rows = places[chosen]
                out[rows, :-1] = self._run(backbone.encode_text, input_ids.to(self._device), size)
                out[rows, -1] = is_cut
                if self._text_store is not None:
                    self._text_store.put([make_key(texts[i]) for i in chosen], out[rows])
        finally:
            if self._text_store is not None:
                self._text_store.flush()

    def _text_batches(
        self, texts: Sequence[str], memo: dict[tuple[str, int], Tokens] | None
    ) -> Iterator[tuple[np.ndarray, torch.Tensor, np.ndarray, int]]:
        """Batches of texts: their positions int64 (n,), input_ids, which are cut, and the size of a full batch."""
        backbone = self._backbone()
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        step = 64 * self._size  # tokenised in parts, so that no table is too long for the memory
        for start in range(0, len(texts), step):
            part = np.array(by_length[start : start + step])
            key = f"{backbone.identity.name} {start}", self._data.max_len
            tokens = memo.get(key) if memo is not None else None
            if tokens is None:
                portion = self._paused(portions([texts[i] for i in part], TOKENIZED_CHARACTERS))
                tokens = Tokens.joined([backbone.tokenize(each, self._data.max_len) for each in portion])
                if memo is not None:
                    memo[key] = tokens
            for chosen, length, size in self._paused(text_batches(tokens.lengths(LENGTH_STEP), self._size)):
                input_ids, _ = tokens.batch(chosen, length)
                yield part[chosen.numpy()], input_ids, tokens.is_truncated[chosen].numpy(), size

    def _run(self, encode: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor, size: int) -> np.ndarray:
        """Features float32 (n, d) of at most `size` inputs, on the device."""
        count = len(inputs)
        wanted = size if self._cache is not None else 2
        if count < wanted:
            inputs = torch.cat([inputs, inputs[-1:].expand(wanted - count, *inputs.shape[1:])])
        with torch.inference_mode(), self._precision.autocast(self._device):
            features = encode(inputs)
        found: np.ndarray = features.float().cpu().numpy()[:count]
        return found

    def _paused(self, batches: Iterable[T]) -> Iterator[T]:
        source = iter(batches)
        while True:
            with self._pause():
                batch = next(source, None)
            if batch is None:
                return
            yield batch

    def _backbone(self) -> Any:
        if self._loaded is None:
            self._loaded = self._towers.load().to(self._device)
            if self._compiled:
                self._loaded.compile_towers()
        return self._loaded

    def _gather(self, found: np.ndarray, chosen: list[list[int]]) -> np.ndarray:
        """Mean over the pictures of each row."""
        rows = self._allocate(len(chosen), found.shape[1])
        for start in range(0, len(chosen), GATHER_ROWS):
            part = chosen[start : start + GATHER_ROWS]
            row_of = torch.repeat_interleave(torch.arange(len(part)), torch.tensor([len(places) for places in part]))
            features = torch.from_numpy(found[[place for places in part for place in places]])
            rows[start : start + len(part)] = mean_by_row(features, row_of, len(part)).numpy()
        return rows

    def _skip(self, kind: str) -> None:
        """A pass that was planned turns out to be in the cache."""
        if not self._quiet:
            current().begin(kind, 0)

    def _settle(self, kind: str, computed: np.ndarray) -> None:
        """What was done with the features after the last batch belongs to the pass."""
        if not self._quiet and len(computed):
            current().settle(kind)

    def _complain(self, name: str, sentence: str) -> None:
        if self._data.on_bad_image == "error":
            raise unreadable(sentence)
        self.unreadable[name] = sentence

    def _allocate(self, rows: int, width: int) -> np.ndarray:
        """An empty float32 (rows, width), in a file without a name where it would take too much of the memory."""
        if 4 * rows * width <= MEMORY_SHARE * psutil.virtual_memory().total:
            return np.empty((rows, width), dtype=np.float32)
        folder = self._cache.root if self._cache is not None else None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            return np.memmap(file, dtype=np.float32, mode="w+", shape=(rows, width))
