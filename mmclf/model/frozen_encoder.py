"""Features of frozen towers: the one road from pictures and texts to vectors, for training and for scoring.

A feature is found again by what it was computed from: the towers (weights, activation, img_size, precision), the
transform, the content of the picture file and the seed of its crop, or the text. So another head, another split or
another table with the same products computes nothing.

A feature is the same to the bit whatever was computed beside it. The arithmetic of a batch depends on its shape, so a
shape is a function of the row alone (see docs/adr/0014): pictures go `encoding_batch` at a time, texts of one padded
length together, and a batch that isn't full is filled up. Without a store, where a single row must be answered quickly,
a batch isn't filled up, but for one alone.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psutil
import torch
from torch.utils.data import DataLoader

from ..config import DataConfig
from ..data.images import draft_side
from ..data.images import flip as mirrored
from ..data.picture_batches import Shot, ShotBatch, ShotDataset, stack_shots
from ..data.pictures import Pictures
from ..data.pixel_spool import PixelSpool
from ..data.row_batches import ahead, unreadable
from ..data.rows import Rows
from ..data.text import LENGTH_STEP, Tokens, text_batches
from ..data.views import EVAL, View, views_of_row
from ..errors import PictureError
from ..runtime.device import Precision, encoding_batch, pick_workers
from ..runtime.progress import track
from ..runtime.speed import Ledger, Stopwatch
from ..store.cache import Cache
from ..store.vectors import VectorStore, make_key
from .pooling import mean_by_row
from .towers import Towers

# of the way features are computed here; another number leaves the stored ones unused
VERSION = 2
# a matrix that would take more than this share of the memory lies in a file
MEMORY_SHARE = 0.25
GATHER_ROWS = 65_536


@dataclass
class _Work:
    """Pictures that are to be encoded: what is missing of each, straight and mirrored, and where it goes."""

    shots: list[Shot]  # the first one is the placeholder
    keys: list[list[bytes]]  # by flip and shot
    out: list[np.ndarray]  # by flip: float32 (shots, image_dim)
    there: np.ndarray  # bool (shots, flips)
    waiting: list[list[tuple[int, torch.Tensor]]] = field(default_factory=list)  # by flip, until a batch is full


class Encoder:
    """Frozen towers applied to rows; what the cache holds isn't computed, and the towers not loaded for it.

    Attributes:
        unreadable: a sentence for each picture that couldn't be decoded, by its name.
        truncated: number of rows of the last `texts` whose text didn't fit.
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
        """
        self.unreadable: dict[str, str] = {}
        self.truncated = 0
        self.ledger = Ledger()
        self._towers, self._data, self._seed = towers, data, seed
        self._precision, self._device, self._cache = precision, device, cache
        full = encoding_batch(device)
        # what is kept is computed in one shape, whoever asks for it
        self._size = full if cache is not None or max_batch is None else min(full, max(2, max_batch))
        self._compiled, self._quiet = compiled, quiet
        self._loaded: Any = None  # the backbone, once it was needed
        spec = towers.spec
        self._draft = draft_side([spec.transform.img_size, *sizes]) if data.fast_jpeg else None
        self._image_store = self._text_store = None
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
            # with a last column that is 1 where the text was cut
            self._text_store = VectorStore(cache, common | text, spec.identity.text_dim + 1, note=note)

    def images(
        self, rows: Rows, epoch: int = EVAL, *, flips: Sequence[bool] = (False,), spool: PixelSpool | None = None
    ) -> list[np.ndarray]:
        """Image features of each row: the mean over its pictures; black where it has none that can be decoded.

        Args:
            rows: the products.
            epoch: of the random crops; EVAL for the eval view.
            flips: False for the picture, True for its mirror image.
            spool: where eval views that were decoded at this size lie, and where those wanted later are put.

        Returns:
            float32 (rows, image_dim) for each of `flips`.

        Raises:
            PictureError: an unreadable picture, with `data.on_bad_image: error`.
            BackboneError: the towers are needed and can't be loaded.
        """
        watch = Stopwatch()
        source = Pictures(rows.picture_source, self._towers.spec.transform, draft=self._draft)
        views = [views_of_row(rows, row, epoch, self._data.multi_image_mode, self._seed) for row in range(len(rows))]
        content = self._contents(source, [view for of_row in views for view in of_row])
        shots: list[Shot] = [Shot(None)]
        place_of: dict[str, int] = {}  # of a shot, by its content
        chosen: list[list[int]] = []
        for of_row in views:
            places = []
            for view in of_row:
                if view in content:
                    place = place_of.setdefault(content[view], len(shots))
                    if place == len(shots):
                        shots.append(Shot(view))
                    places.append(place)
            chosen.append(places)
        names = ["placeholder", *place_of]
        keys = [[make_key(name, "mirrored") if flip else make_key(name) for name in names] for flip in flips]
        width = self._towers.spec.identity.image_dim
        out = [self._allocate(len(shots), width) for _ in flips]
        there = np.zeros((len(shots), len(flips)), dtype=bool)
        if self._image_store is not None:
            there = np.stack([self._image_store.get(k, o) for k, o in zip(keys, out, strict=True)], axis=1)
        work = _Work(shots, keys, out, there, [[] for _ in flips])
        before = there.copy()
        readable = np.ones(len(shots), dtype=bool)
        label = "encoding pictures" if epoch == EVAL else f"encoding pictures, view {epoch}"
        missing = np.flatnonzero(~there.all(axis=1))
        if all(chosen):
            missing = missing[missing > 0]  # no row is without a picture so far
        self._encode_pictures(work, missing, flips, source, spool, label, readable, watch)
        chosen = [[place for place in places if readable[place]] or [0] for places in chosen]
        if any(places == [0] for places in chosen) and not there[0].all():
            self._encode_pictures(work, np.array([0]), flips, source, None, label, readable, watch)
        asked = np.unique(np.array([place for places in chosen for place in places], dtype=np.int64))
        self.ledger.count(before[asked], watch)
        return [self._gather(features, chosen) for features in out]

    def texts(self, rows: Rows, *, memo: dict[tuple[str, int], Tokens] | None = None) -> np.ndarray:
        """Text features of each row, float32 (rows, text_dim).

        Args:
            rows: the products.
            memo: keeps tokens for other towers that read the same rows by the same tokenizer.

        Raises:
            BackboneError: the towers are needed and can't be loaded.
        """
        watch = Stopwatch()
        position: dict[str, int] = {}
        row_of = np.array([position.setdefault(text, len(position)) for text in rows.texts], dtype=np.int64)
        texts = list(position)
        found = self._allocate(len(texts), self._towers.spec.identity.text_dim + 1)
        there = np.zeros(len(texts), dtype=bool)
        if self._text_store is not None:
            there = self._text_store.get([make_key(text) for text in texts], found)
        missing = np.flatnonzero(~there)
        if len(missing):
            self._encode_texts([texts[i] for i in missing], missing, found, memo)
        self.ledger.count(there, watch)
        self.truncated = int(found[row_of, -1].sum())
        features = self._allocate(len(row_of), found.shape[1] - 1)
        for start in range(0, len(row_of), GATHER_ROWS):
            part = row_of[start : start + GATHER_ROWS]
            features[start : start + len(part)] = found[part, :-1]
        return features

    def _contents(self, source: Pictures, views: Sequence[View]) -> dict[View, str]:
        """What a view shows: by the content of its file where features are kept, else by its name.

        Files that can't be read are left out.
        """
        if self._cache is None:
            return {view: f"{view.name}\x1f{view.seed}" for view in views}

        def digest(name: str) -> str | None:
            try:
                return source.digest(name)
            except PictureError as error:
                self._complain(name, str(error))
                return None

        names = list(dict.fromkeys(view.name for view in views))
        with ThreadPoolExecutor(8) as pool:  # waits for the disk, and hashing lets other threads run
            digests = dict(zip(names, pool.map(digest, names), strict=True))
        return {view: f"{digests[view.name]}\x1f{view.seed}" for view in views if digests[view.name] is not None}

    def _encode_pictures(
        self,
        work: _Work,
        missing: np.ndarray,
        flips: Sequence[bool],
        source: Pictures,
        spool: PixelSpool | None,
        label: str,
        readable: np.ndarray,
        watch: Stopwatch,
    ) -> None:
        """Encode what is missing of some shots; marks what couldn't be decoded."""
        if not len(missing):
            return
        try:
            batches = self._decoded([work.shots[place] for place in missing], source, spool)
            total = -(-len(missing) // self._size)
            for batch in watch.waiting(track(batches, total, label, quiet=self._quiet)):
                for number, sentence in batch.unreadable:
                    place = int(missing[number])
                    readable[place] = False
                    self._complain(str(getattr(work.shots[place].view, "name", "")), sentence)
                places = missing[batch.numbers]
                if len(places) == self._size and not work.there[places].any() and not any(work.waiting):
                    self._run_pictures(work, places, batch.images, flips, range(len(flips)))  # as it came, on a GPU
                    continue
                for number in range(len(flips)):
                    images = zip(places.tolist(), batch.images, strict=True)
                    work.waiting[number] += [(p, image) for p, image in images if not work.there[p, number]]
                    while len(work.waiting[number]) >= self._size:
                        self._run_waiting(work, flips, number)
            for number in range(len(flips)):
                if work.waiting[number]:
                    self._run_waiting(work, flips, number)
        finally:
            if self._image_store is not None:
                self._image_store.flush()

    def _decoded(self, shots: Sequence[Shot], source: Pictures, spool: PixelSpool | None) -> Iterator[ShotBatch]:
        """The shots as pixels: from the spool, else from the files."""
        transform = self._towers.spec.transform
        spooled = [n for n, shot in enumerate(shots) if spool and shot.view and spool.has(transform, shot.view.name)]
        for start in range(0, len(spooled), self._size):
            part = spooled[start : start + self._size]
            names = [view.name for n in part if (view := shots[n].view) is not None]
            yield ShotBatch(np.array(part), torch.stack([spool.get(transform, name) for name in names]))  # type: ignore[union-attr]
        rest = np.setdiff1d(np.arange(len(shots)), spooled)
        if not len(rest):
            return
        later = spool.others(transform) if spool is not None else []
        others = source.at_other_sizes(later)
        loader: DataLoader[Any] = DataLoader(
            ShotDataset([shots[n] for n in rest], source, others),
            batch_size=self._size,
            num_workers=pick_workers(self._device, self._data.num_workers),
            collate_fn=stack_shots,
            pin_memory=self._device.type == "cuda",
            generator=torch.Generator(),
        )
        batches: Iterator[ShotBatch] = iter(loader if loader.num_workers else ahead(loader))
        for batch in batches:
            if spool is not None and len(batch.numbers):
                for each, images in zip([transform, *later], (batch.images, *batch.others), strict=True):
                    for number, image in zip(batch.numbers, images, strict=True):
                        view = shots[rest[number]].view
                        if view is not None:
                            spool.put(each, view.name, image)
            bad = tuple((int(rest[number]), sentence) for number, sentence in batch.unreadable)
            yield ShotBatch(rest[batch.numbers], batch.images, bad)

    def _run_waiting(self, work: _Work, flips: Sequence[bool], number: int) -> None:
        """Encode a batch of what waits for one of the flips."""
        part, work.waiting[number] = work.waiting[number][: self._size], work.waiting[number][self._size :]
        images = torch.stack([image for _, image in part])
        self._run_pictures(work, np.array([place for place, _ in part]), images, flips, [number])

    def _run_pictures(
        self, work: _Work, places: np.ndarray, images: torch.Tensor, flips: Sequence[bool], numbers: Sequence[int]
    ) -> None:
        moved = images.to(self._device, non_blocking=True)
        for number in numbers:
            inputs = mirrored(moved) if flips[number] else moved
            features = self._run(self._backbone().encode_image, inputs, self._size)
            work.out[number][places] = features
            work.there[places, number] = True
            if self._image_store is not None:
                self._image_store.put([work.keys[number][place] for place in places], features)

    def _encode_texts(
        self, texts: Sequence[str], places: np.ndarray, out: np.ndarray, memo: dict[tuple[str, int], Tokens] | None
    ) -> None:
        """Encode texts into the rows `places` of `out`, those of one length together."""
        backbone = self._backbone()
        by_length = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        step = 64 * self._size  # tokenised in parts, so that no table is too long for the memory
        try:
            parts = range(0, len(texts), step)
            for start in track(parts, len(parts), "encoding texts", quiet=self._quiet):
                part = np.array(by_length[start : start + step])
                key = f"{backbone.identity.name} {start}", self._data.max_len
                tokens = memo.get(key) if memo is not None else None
                if tokens is None:
                    tokens = backbone.tokenize([texts[i] for i in part], self._data.max_len)
                    if memo is not None:
                        memo[key] = tokens
                for chosen, length, size in text_batches(tokens.lengths(LENGTH_STEP), self._size):
                    input_ids, _ = tokens.batch(chosen, length)
                    rows = places[part[chosen.numpy()]]
                    out[rows, :-1] = self._run(backbone.encode_text, input_ids.to(self._device), size)
                    out[rows, -1] = tokens.is_truncated[chosen].numpy()
                    if self._text_store is not None:
                        self._text_store.put([make_key(texts[i]) for i in part[chosen.numpy()]], out[rows])
        finally:
            if self._text_store is not None:
                self._text_store.flush()

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
