"""What `fit` decides by the size of the table and by the machine: rules, without doing anything.

The figures behind the rules and the estimates stand in docs/lab-log.md.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import BLANK, parse_overrides
from ..errors import ConfigError
from ..runtime.progress import clock
from ..store.cache import GIB

if TYPE_CHECKING:  # it imports torch
    from ..runtime.machine import Machine

# on a GPU the recipe's; on a CPU one that sends a picture through in a twelfth of the time, and is more accurate than
# the same with the recipe's weights (ImageNet zero-shot 0.692 against 0.633, by open_clip's table)
GPU_BACKBONE = ("ViT-L-14-quickgelu", "openai")
CPU_BACKBONE = ("ViT-B-32", "datacomp_xl_s13b_b90k")
LEAST_GPU_MEMORY = 8 * GIB
# tokens of a text, where the tower reads as many: a third of shop descriptions are longer than CLIP's 77
MOST_TOKENS = 160
# what the members share and a caller may change
SHARED = ("data.", "infer.", "model.name", "model.pretrained", "train.amp", "train.folds", "train.seed")
ZERO_SHOT, KERNEL_HEAD, MLP_HEAD, FINE_TUNING = "zero-shot head", "kernel head", "MLP head", "fine-tuning"
# of the one member that knows classes by their names
CLASSES_CSV = "data.classes_csv"
CONFIGS = {
    ZERO_SHOT: "configs/zero-shot-stage1.yaml",
    KERNEL_HEAD: "configs/kernel-stage1.yaml",
    MLP_HEAD: "configs/small-stage1.yaml",
    FINE_TUNING: "configs/finetune-stage2.yaml",
}
# rates of the towers of up to so many parameters are those of the file, of larger ones the recipe's
SMALL_TOWERS = 50_000_000
RECIPE_RATES = {"train.lrs.image_encoder": 1e-5, "train.lrs.text_encoder": 1e-5}
# rows beyond which a kernel head isn't made
KERNEL_ROWS = 200_000
# seconds that a kernel head's fold takes on two cores, by its rows: up to 20,000 exactly, then on landmarks
KERNEL_SECONDS = {300: 1.0, 1_000: 6.0, 3_200: 12.0, 10_000: 90.0, 20_000: 420.0}
LANDMARK_SECONDS = {20_000: 100.0, 50_000: 141.0, 100_000: 200.0, 1_000_000: 1_300.0}
STEP_SECONDS = 2.5e-3  # of a step of 32 rows of the MLP
# a fine-tuned row costs as many encoded ones: forward, backward, and a picture that is decoded anew
FINE_TUNED_ROWS = 4.0
ZERO_SHOT_SECONDS = 3.0
# of a zero-shot head on towers that weren't trained on pairs: its text tower knows the names all the same
TEXTS_ALONE: dict[str, Any] = {"model.sides": ["text"], "model.templates": [BLANK]}
OVERHEAD = 6.0  # seconds of fusing, comparing and packing


@dataclass(frozen=True)
class Step:
    """A member of the fusion, and what is decided of it.

    Attributes:
        name: of CONFIGS.
        config: file that it starts from.
        changes: to it.
        seconds: that it is expected to take.
        why: it is made like this, or not at all; for people.
        is_taken: whether it is made.
    """

    name: str
    config: str
    changes: dict[str, Any]
    seconds: float
    why: str
    is_taken: bool = True


def shared_changes(overrides: str | Mapping[str, Any]) -> dict[str, Any]:
    """The changes that a caller makes to all members.

    Raises:
        ConfigError: a key that `fit` decides itself, or no key at all.
    """
    given = parse_overrides(overrides)
    for key in given:
        if not key.startswith(SHARED):
            raise ConfigError(
                f"overrides: {key}: fit decides this itself; data.*, infer.*, model.name, model.pretrained, train.amp, "
                "train.folds and train.seed may be given, and stage1 and stage2 take every key"
            )
    return given


def choose_backbone(machine: "Machine", given: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The backbone as changes, and why it is this one."""
    if "model.name" in given:
        return {"model.pretrained": given.get("model.pretrained")} | dict(given), "as asked for"
    has_gpu = machine.device == "cuda" and machine.gpu_memory >= LEAST_GPU_MEMORY
    name, pretrained = GPU_BACKBONE if has_gpu else CPU_BACKBONE
    why = "the recipe's, since there is a GPU" if has_gpu else "one that this machine can carry"
    return {"model.name": name, "model.pretrained": pretrained} | dict(given), f"{why}; model.name takes another"


def zero_shot_step(classes_csv: str | None) -> Step:
    """The zero-shot head: of pictures and texts where the towers are aligned, else of texts alone.

    Args:
        classes_csv: names of the classes, as `data.classes_csv`; None where the labels are the names.
    """
    changes = {} if classes_csv is None else {CLASSES_CSV: classes_csv}
    why = "by the classes' names: of pictures where the towers are aligned, else of texts alone"
    return Step(ZERO_SHOT, CONFIGS[ZERO_SHOT], changes, ZERO_SHOT_SECONDS, why)


def kernel_step(rows: int, folds: int, machine: "Machine", most_exact: int) -> Step:
    """The kernel head, which is made where it takes minutes, not hours.

    Args:
        rows: of the table.
        folds: number of them.
        machine: see there.
        most_exact: rows that may all be support.
    """
    fold = rows * (folds - 1) // folds
    # one more solution, of all rows
    seconds = folds * _kernel_seconds(fold, machine) + _kernel_seconds(rows, machine)
    found = Step(KERNEL_HEAD, CONFIGS[KERNEL_HEAD], {}, seconds, "solved, exact")
    if rows > KERNEL_ROWS:
        why = f"left out: about {clock(seconds)}, and so many rows are what an MLP learns from"
        return replace(found, why=why, is_taken=False)
    if rows > most_exact:
        return replace(found, why="solved on landmarks, since all pairs of rows would be too many")
    return found


def mlp_step(rows: int, folds: int, machine: "Machine", epochs: int = 10) -> Step:
    """The MLP head, which is always made: about 100 steps an epoch, of 32 to 1,024 rows."""
    size = int(2 ** np.clip(np.round(np.log2(max(rows, 1) / 100)), 5, 10))
    steps = folds * epochs * rows * (folds - 1) / folds / size
    seconds = steps * STEP_SECONDS * max(1.0, size / 128) * _cores(machine)
    return Step(MLP_HEAD, CONFIGS[MLP_HEAD], {"train.batch_size": size}, seconds, f"batches of {size}")


def fine_tuning_step(
    rows: int, folds: int, epochs: int, seconds_a_row: float, parameters: int, machine: "Machine", left: float | None
) -> Step:
    """Fine-tuning, where there is a GPU or the budget has room for it.

    Args:
        rows: of the table.
        folds: number of them.
        epochs: of fine-tuning.
        seconds_a_row: that encoding takes.
        parameters: of the towers.
        machine: see there.
        left: seconds of the budget that are left for it; None without a budget.
    """
    seconds = folds * epochs * rows * seconds_a_row * (FINE_TUNED_ROWS * (folds - 1) + 1) / folds
    changes: dict[str, Any] = {} if parameters <= SMALL_TOWERS else dict(RECIPE_RATES)
    found = Step(FINE_TUNING, CONFIGS[FINE_TUNING], changes, seconds, "there is a GPU")
    if left is not None and seconds <= left:
        return replace(found, why="the budget has room for it")
    if left is not None:
        why = f"left out: about {clock(seconds)}, more than the budget leaves"
        return replace(found, why=why, is_taken=False)
    if machine.device == "cuda":
        return found
    why = "left out: there is no GPU; a budget, as budget=2h, includes it where it fits"
    return replace(found, why=why, is_taken=False)


def budget_note(budget: float | None, expected: float) -> str:
    """What is said beside the expected time."""
    if budget is None:
        return "fusion, comparison and packing included"
    if expected + OVERHEAD > budget:
        return f"more than the budget of {clock(budget)}: the heads are made all the same"
    return f"the budget is {clock(budget)}"


def to_json(steps: list[Step]) -> str:
    """The steps as a run keeps them."""
    return json.dumps([asdict(step) for step in steps], indent=2) + "\n"


def from_json(text: str) -> list[Step]:
    """What `to_json` gave.

    Raises:
        ValueError, TypeError: it is something else.
    """
    return [Step(**step) for step in json.loads(text)]


def describe(steps: list[Step]) -> list[list[str]]:
    """The steps as lines of a table: name, time, why."""
    return [[step.name, f"about {clock(step.seconds)}" if step.is_taken else "-", step.why] for step in steps]


def _kernel_seconds(rows: int, machine: "Machine") -> float:
    measured = KERNEL_SECONDS if rows <= max(KERNEL_SECONDS) else LANDMARK_SECONDS
    known = np.log(list(measured))
    seconds = np.exp(np.interp(np.log(max(rows, 1)), known, np.log(list(measured.values()))))
    return float(seconds) * _cores(machine)


def _cores(machine: "Machine") -> float:
    """How much longer it takes than on two cores; more than eight make little difference."""
    return 2 / min(max(machine.cores, 1), 8)
