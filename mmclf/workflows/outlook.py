"""What `fit` has before it: the machine, the table, a few rows timed, and the plan; `estimate_fit` ends there."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import Config, Overrides, resolve_config
from ..errors import ConfigError
from ..runtime import environment
from ..runtime.progress import aligned, clock, current, say
from . import plan

if TYPE_CHECKING:
    from ..data.catalog import Catalog
    from ..data.folds import Split
    from ..data.table import TableLike
    from ..model.towers import LazyBackbone
    from ..runtime.machine import Machine
    from ..runtime.speed import Ledger
    from ..store.cache import Cache
    from .plan import Step

PLAN = ["step", "time", "how, or why not"]


def estimate_fit(
    table: "TableLike", *, images: str | Path, overrides: Overrides = "", budget: float | None = None
) -> dict[str, Any]:
    """What `fit` would do with the same, and what time, memory and disk that would take; nothing is trained.

    Args:
        table: see `fit`.
        images: the same.
        overrides: the same.
        budget: the same.

    Returns:
        `rows`, `seconds`, `memory_gib`, `cache_gib` and `store_gib`, all about.

    Raises:
        MmclfError: see `fit`.
    """
    start = time.monotonic()
    given = check_asked(overrides, budget)
    classes_csv = given.pop(plan.CLASSES_CSV, None)
    say("fit: an estimate; some rows are timed for it")
    from ..data.views import count_views
    from ..store.cache import GIB
    from .forecast import shown
    from .sizing import needs_of_fit

    with shown("fit"):
        machine, split, config, _, why = look(table, images, given)
        preparation = prepare(config, split.catalog, will_fine_tune=True)
        say_backbone(preparation, why)
        left = None if budget is None else budget - (time.monotonic() - start)
        steps = [plan.zero_shot_step(classes_csv), *choose_steps(preparation, split, machine, left)]
    expected, lines = lay_out(preparation, steps, budget, 0.0)
    say(aligned(PLAN, lines))
    rows, data = split.catalog.rows, preparation.config.data
    pictures = count_views(rows, data.multi_image_mode)
    identity, folds = preparation.backbone.spec.identity, len(split.numbers)
    needs = needs_of_fit(rows, pictures, identity, steps, preparation.parameters, folds)
    say(f"fit: {needs}")
    return {
        "rows": len(rows),
        "seconds": round(expected + plan.OVERHEAD),
        "memory_gib": round(needs.memory / GIB, 1),
        "cache_gib": round(needs.cache / GIB, 2),
        "store_gib": round(needs.store / GIB, 2),
    }


def check_asked(overrides: Overrides, budget: float | None) -> dict[str, Any]:
    """The changes to all members.

    Raises:
        ConfigError: a key that can't be given, no time at all, or several processes.
    """
    given = plan.shared_changes(overrides)
    if budget is not None and not budget > 0:
        raise ConfigError(f"budget: found {budget}; give seconds, more than 0")
    if environment.WORLD_SIZE.integer() > 1:
        raise ConfigError("fit needs one process only: start it without torchrun; stage 2 runs on several")
    return given


def look(
    table: "TableLike", images: str | Path, given: dict[str, Any]
) -> "tuple[Machine, Split, Config, dict[str, Any], str]":
    """Machine, table, configuration of the kernel head, changes to all members, and why it is this backbone."""
    from ..runtime.machine import find_machine
    from .tables import read_split

    machine = find_machine()
    changes, why = plan.choose_backbone(machine, given)
    config = resolve_config(plan.CONFIGS[plan.KERNEL_HEAD], changes)
    say(f"fit: {machine}")
    return machine, read_split(table, images, config, doubts=True), config, changes, why


def say_backbone(preparation: "Preparation", why: str) -> None:
    """Say which it is."""
    config = preparation.config
    said = f"{config.model.name}{f' ({config.model.pretrained})' if config.model.pretrained else ''}: {why}"
    say(f"fit: backbone {said}; {config.data.max_len} tokens of a text")


def lay_out(
    preparation: "Preparation", steps: "list[Step]", budget: float | None, gone: float
) -> tuple[float, list[list[str]]]:
    """Seconds of all before the fusion, those that are `gone` already included; and the lines of PLAN."""
    expected = gone + preparation.encoding + sum(s.seconds for s in steps if s.is_taken)
    lines = [["features", f"about {clock(preparation.encoding)}", preparation.note], *plan.describe(steps)]
    lines.append(["together", f"about {clock(expected + plan.OVERHEAD)}", plan.budget_note(budget, expected)])
    return expected, lines


@dataclass(frozen=True)
class Preparation:
    """What is known once the first rows went through the towers.

    Attributes:
        config: of the kernel head, with the length of the texts.
        backbone: that it names, loaded where that was needed.
        encoding: seconds that the features of the table will take.
        seconds_a_row: that a row's features take where they have to be computed; 0 where it doesn't matter.
        parameters: of the towers, the same.
        note: of the features, for people.
    """

    config: Config
    backbone: "LazyBackbone"
    encoding: float
    seconds_a_row: float
    parameters: int
    note: str


def prepare(config: Config, catalog: "Catalog", *, will_fine_tune: bool) -> Preparation:
    """Encode a few rows, which are kept, and see how long it takes.

    Args:
        config: of the kernel head.
        catalog: the table.
        will_fine_tune: it may come to that, so the towers' speed is wanted even where all features are known.
    """
    from ..model.frozen_encoder import Encoder
    from ..model.towers import LazyBackbone
    from ..runtime.device import allow_tf32, encoding_batch, pick_device, pick_precision
    from ..runtime.speed import Ledger
    from ..store.cache import open_cache
    from .feature_forecast import time_rows

    device = pick_device()
    allow_tf32(device)
    cache = open_cache()
    backbone = LazyBackbone(config.model.name, config.model.pretrained, config.data.img_size, cache)
    most = min(plan.MOST_TOKENS, backbone.spec.most_tokens)
    data = config.data
    if "max_len" not in data.model_fields_set:
        data = data.model_copy(update={"max_len": most})
        config = config.model_copy(update={"data": data})
    size = encoding_batch(device)
    drawn = np.random.default_rng(0).permutation(len(catalog))[: 2 * size]
    parts = [catalog.rows.take(drawn[:size]), catalog.rows.take(drawn[-size:])]
    precision = pick_precision(device, config.train.amp)

    def measure(store: "Cache | None") -> "Ledger":
        ledger = Ledger()
        for part in parts:  # the first batch loads the towers and is slow
            ledger = Ledger()
            encoder = Encoder(backbone, data, precision=precision, device=device, cache=store, quiet=True)
            time_rows(current(), encoder, part, data.max_len, details=True)
            ledger.add(encoder.ledger)
        return ledger

    found = measure(cache)
    encoding = found.seconds / len(parts[1]) * max(len(catalog) - len(drawn), 0)
    pictures = sum(len(names) for names in catalog.rows.pictures)
    if found.computed:
        note = f"{pictures:,} pictures, {len(catalog):,} texts; {len(parts[1]) / found.seconds:.0f} rows/s"
    else:
        note = "in the cache"
    alone = found if found.computed and not found.reused else measure(None) if will_fine_tune else Ledger()
    parameters = sum(each.numel() for each in backbone.load().parameters()) if will_fine_tune else 0
    return Preparation(config, backbone, encoding, alone.seconds / len(parts[1]), parameters, note)


def choose_steps(preparation: Preparation, split: "Split", machine: "Machine", left: float | None) -> list["Step"]:
    """What is trained; `left` are seconds of the budget."""
    from ..training.kernel_fit import most_exact_rows

    rows, folds = len(split.catalog), len(split.numbers)
    steps = [plan.kernel_step(rows, folds, machine, most_exact_rows()), plan.mlp_step(rows, folds, machine)]
    if left is not None:
        left -= preparation.encoding + sum(step.seconds for step in steps if step.is_taken) + plan.OVERHEAD
    epochs = resolve_config(plan.CONFIGS[plan.FINE_TUNING]).train.epochs
    seconds, parameters = preparation.seconds_a_row, preparation.parameters
    return [*steps, plan.fine_tuning_step(rows, folds, epochs, seconds, parameters, machine, left)]
