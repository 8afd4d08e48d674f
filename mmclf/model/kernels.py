"""How alike products are: kernels of their features, and of the words and characters of their texts.

A product without a picture is like no other by its picture, and one without a text by none of the kernels of texts:
there is no black picture's and no empty text's feature in them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from scipy.sparse import csr_array

from .head_inputs import HeadInputs
from .terms import BUCKETS, InverseFrequency, TermIndex, count_terms

# numbers of a part of a kernel matrix
BLOCK = 2**23
# rows of a table whose terms are counted once and kept; of more, they are counted when they are compared
COUNTED_ROWS = 50_000
# rows that are looked at together where a table is gone through
STEP = 16_384
FEATURES = ("image", "layers", "outline", "text", "title")
TERMS = ("words", "chars", "title_chars")
# logarithms, of kernels that see nothing but what others see too: few rows leave them where they start
START_WEIGHTS = {"title_chars": -1.5}
OF_TITLES = frozenset({"title", "title_chars"})
OF_PICTURES = frozenset({"image", "layers", "outline"})
DETAILS = frozenset({"layers", "outline"})  # which are encoded together
# the column of `Compared.has` that says whether a row has one
HAS = {"image": 0, "layers": 0, "outline": 0, "text": 1, "title": 2}
OF_TEXTS = frozenset({"text", "words", "chars"}) | OF_TITLES


@dataclass(frozen=True)
class Compared:
    """Rows as kernels compare them.

    Attributes:
        vectors: by name of FEATURES, float32 (n, d): centred, of unit length; 0 where a row has none.
        terms: by name of TERMS, TF-IDF float32 (n, BUCKETS).
        has: bool (n, 3): a picture, a text, a title.
    """

    vectors: dict[str, torch.Tensor]
    terms: dict[str, csr_array]
    has: np.ndarray

    def __len__(self) -> int:
        return len(self.has)

    @cached_property
    def indexes(self) -> dict[str, TermIndex]:
        """By name of TERMS, for rows that are compared with these."""
        return {name: TermIndex(terms) for name, terms in self.terms.items()}

    def take(self, rows: np.ndarray | slice) -> "Compared":
        """Some of the rows."""
        index = rows if isinstance(rows, slice) else torch.from_numpy(rows)
        return Compared(
            {name: vectors[index] for name, vectors in self.vectors.items()},
            {name: terms[rows] for name, terms in self.terms.items()},
            self.has[rows],
        )


def pattern_of(has: np.ndarray, wanted: tuple[bool, bool]) -> np.ndarray:
    """Bool (n,): whether a row has a picture and a text, or hasn't, just as wanted; of `Compared.has`."""
    found: np.ndarray = (has[:, :2] == wanted).all(axis=1)
    return found


def usable_by(has: np.ndarray, kernels: Sequence[str]) -> np.ndarray:
    """Bool (n,): whether a row has what one of the kernels compares; of `Compared.has`."""
    pictures, texts, _ = has.T
    found = np.zeros(len(has), dtype=bool)
    if OF_PICTURES & set(kernels):
        found = found | pictures
    if OF_TEXTS & set(kernels):
        found = found | texts
    if "product" in kernels:
        found = found | (pictures & texts)
    return found


@dataclass(frozen=True)
class Scaling:
    """What is learned of the training rows so that rows can be compared.

    Attributes:
        means: by name of FEATURES, float32 (d,), over the rows that have one.
        frequencies: by name of TERMS.
    """

    means: dict[str, np.ndarray]
    frequencies: dict[str, InverseFrequency]


@dataclass(frozen=True)
class Prepared:
    """Rows with their terms counted, which is the same for every fold.

    Attributes:
        inputs: n rows.
        terms: names of TERMS that are compared.
        counted: by these names, float32 (n, BUCKETS); None of many rows, whose terms are counted when they are taken.
    """

    inputs: HeadInputs
    terms: tuple[str, ...]
    counted: dict[str, csr_array] | None = None

    @classmethod
    def of(cls, inputs: HeadInputs, kernels: Sequence[str]) -> "Prepared":
        """Count the terms that the kernels ask for, unless the rows are many."""
        found = cls(inputs, tuple(name for name in TERMS if name in kernels))
        return replace(found, counted=found.counts) if len(inputs) <= COUNTED_ROWS else found

    def of_kernels(self, kernels: Sequence[str]) -> "Prepared":
        """The rows with the terms of these kernels alone."""
        names = tuple(name for name in self.terms if name in kernels)
        counted = None if self.counted is None else {name: self.counted[name] for name in names}
        return Prepared(self.inputs, names, counted)

    @cached_property
    def counts(self) -> dict[str, csr_array]:
        """By name of TERMS, float32 (n, BUCKETS)."""
        if self.counted is not None:
            return self.counted
        return {name: count_terms(_strings(self.inputs, name), name) for name in self.terms}  # type: ignore[arg-type]

    def take(self, rows: np.ndarray) -> "Prepared":
        """The rows at these positions."""
        counted = self.counted
        if counted is not None:
            counted = {name: counts[rows] for name, counts in counted.items()}
        return Prepared(self.inputs.take(rows), self.terms, counted)


def features_used(kernels: Sequence[str]) -> list[str]:
    """Names of FEATURES that the kernels compare."""
    of_product = ("image", "text") if "product" in kernels else ()
    return [name for name in FEATURES if name in kernels or name in of_product]


def learn_scaling(rows: Prepared, chosen: np.ndarray, kernels: Sequence[str]) -> Scaling:
    """Means and frequencies of the training rows.

    Args:
        rows: a table.
        chosen: int64, positions of the training rows.
        kernels: that are summed.
    """
    names = features_used(kernels)
    sums = {name: np.zeros(_features(rows.inputs, name)[0].shape[1]) for name in names}
    with_feature, used = dict.fromkeys(names, 0), {name: np.zeros(BUCKETS, dtype=np.int64) for name in rows.terms}
    with_terms = dict.fromkeys(rows.terms, 0)
    for part in (rows.take(chosen[start : start + STEP]) for start in range(0, len(chosen), STEP)):
        for name in names:
            values, there = _features(part.inputs, name)
            sums[name] += values[there].sum(axis=0, dtype=np.float64)
            with_feature[name] += int(there.sum())
        for name, counts in part.counts.items():
            with_terms[name] += int((np.diff(counts.indptr) > 0).sum())
            used[name] += np.bincount(counts.indices, minlength=BUCKETS)  # an empty text has no terms
    means = {name: (sums[name] / max(with_feature[name], 1)).astype(np.float32) for name in names}
    return Scaling(means, {name: InverseFrequency.learn(each, with_terms[name]) for name, each in used.items()})


def compare_by(rows: Prepared, scaling: Scaling) -> Compared:
    """Rows as kernels compare them."""
    vectors = {}
    for name, mean in scaling.means.items():
        values, there = _features(rows.inputs, name)
        if not there.any():  # then they may not even have been made
            vectors[name] = torch.zeros(len(there), len(mean))
            continue
        centred = values - mean
        lengths = np.linalg.norm(centred, axis=1, keepdims=True)
        # torch's own memory: where numpy's happens to lie decides how a product of matrices is rounded
        vectors[name] = torch.tensor(np.where(there[:, None], centred / np.maximum(lengths, 1e-9), np.float32(0)))
    terms = {name: scaling.frequencies[name].apply(counts) for name, counts in rows.counts.items()}
    return Compared(vectors, terms, has_of(rows.inputs))


@dataclass(frozen=True)
class Comparable:
    """Rows that are made as kernels compare them when they are needed: a million of them all at once take 10 GiB.

    Attributes:
        table: whose rows they are.
        scaling: learned of the training rows.
        positions: int64 (n,), in the table.
    """

    table: Prepared
    scaling: Scaling
    positions: np.ndarray

    def __len__(self) -> int:
        return len(self.positions)

    @cached_property
    def has(self) -> np.ndarray:
        """See `Compared.has`."""
        found: np.ndarray = has_of(self.table.inputs)[self.positions]
        return found

    def take(self, rows: np.ndarray) -> "Comparable":
        """Some of the rows."""
        return Comparable(self.table, self.scaling, self.positions[rows])

    def compared(self) -> Compared:
        """All of them."""
        return compare_by(self.table.take(self.positions), self.scaling)


def similarities(one: Compared, other: Compared, kernels: Sequence[str]) -> dict[str, torch.Tensor]:
    """Cosines of each row of `one` with each of `other`, by name of FEATURES and TERMS: float32 (n, m)."""
    found = {}
    for name in features_used(kernels):
        found[name] = one.vectors[name] @ other.vectors[name].T
    for name in TERMS:
        if name in kernels:
            found[name] = other.indexes[name].products(one.terms[name])
    return found


@dataclass(frozen=True)
class KernelParameters:
    """How much each kernel counts; tensors without a dimension, so that they can be learned.

    Attributes:
        log_weights: by kernel.
        log_widths: by name of FEATURES: the logarithm of gamma in exp(-gamma d²), for the distance d of unit vectors.
    """

    log_weights: dict[str, torch.Tensor]
    log_widths: dict[str, torch.Tensor]

    @classmethod
    def start(cls, kernels: Sequence[str]) -> "KernelParameters":
        """Weights of 1, but for START_WEIGHTS; gamma 0.5."""
        weights = {name: torch.tensor(START_WEIGHTS.get(name, 0.0), dtype=torch.float64) for name in kernels}
        widths = {name: torch.tensor(np.log(0.5), dtype=torch.float64) for name in features_used(kernels)}
        return cls(weights, widths)

    @property
    def kernels(self) -> list[str]:
        """Their names."""
        return list(self.log_weights)

    def tensors(self) -> list[torch.Tensor]:
        """All of them, in a fixed order."""
        return [*self.log_weights.values(), *self.log_widths.values()]

    def replaced(self, values: Sequence[torch.Tensor]) -> "KernelParameters":
        """With other values, in the order of `tensors`."""
        found = iter(values)
        weights = {name: next(found) for name in self.log_weights}
        return replace(self, log_weights=weights, log_widths={name: next(found) for name in self.log_widths})

    def combine(self, cosines: dict[str, torch.Tensor], has_one: np.ndarray, has_other: np.ndarray) -> torch.Tensor:
        """The kernel matrix (n, m), in the type of `cosines`.

        Args:
            cosines: as `similarities` gives them, of these kernels at least.
            has_one: bool (n, 3), see `Compared.has`.
            has_other: bool (m, 3).
        """
        kind = next(iter(cosines.values())).dtype
        alike = {}
        for name, number in HAS.items():
            if name in self.log_widths:
                there = torch.from_numpy(has_one[:, number, None] & has_other[None, :, number])
                gamma = self.log_widths[name].exp().to(kind)
                alike[name] = torch.exp(-2 * gamma * (1 - cosines[name])) * there
        total = torch.zeros((), dtype=kind)
        for name, log_weight in self.log_weights.items():
            if name == "product":
                part = alike["image"] * alike["text"]
            else:
                part = alike[name] if name in alike else cosines[name]
            total = total + log_weight.exp().to(kind) * part
        return total


def kernel_parts(rows: Compared, support: Compared, parameters: KernelParameters) -> Iterator[tuple[int, torch.Tensor]]:
    """The kernel matrix in parts: position of the first row, and float32 (n, m) of some rows with all of `support`."""
    step = max(1, BLOCK // max(1, len(support)))
    for start in range(0, len(rows), step):
        part = rows.take(slice(start, start + step))
        cosines = similarities(part, support, parameters.kernels)
        yield start, parameters.combine(cosines, part.has, support.has)


def _features(inputs: HeadInputs, name: str) -> tuple[np.ndarray, np.ndarray]:
    """The features of pictures, texts or titles, and which rows have one."""
    return {
        "image": lambda: (inputs.images, inputs.has_picture),
        "layers": lambda: (inputs.layers, inputs.has_picture),
        "outline": lambda: (inputs.outlines, inputs.has_picture),
        "text": lambda: (inputs.texts, inputs.has_text),
        "title": lambda: (inputs.titles, inputs.has_title),
    }[name]()


def _strings(inputs: HeadInputs, name: str) -> Sequence[str]:
    """What terms are counted in."""
    return inputs.title_strings if name in OF_TITLES else inputs.strings


def has_of(inputs: HeadInputs) -> np.ndarray:
    """Bool (n, 3): whether a row has a picture, a text, a title."""
    return np.stack([inputs.has_picture, inputs.has_text, inputs.has_title], axis=1)
