"""The model card: what a registered model is, how good, what for, and how to call it; Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import HF_HUB, LOCAL_DIR, Config
from ..evaluation.crossvalidation import Figures
from ..evaluation.metrics import per_class
from ..evaluation.probabilities import ProbabilityTable
from ..evaluation.thresholds import find_thresholds, hold_out
from .vocabulary import CHAMPION, MODELS

# classes that the card lists; the run's oof.parquet has them all
MOST_CLASSES = 100
GAP = "&emsp;"
# of weight tags, as the pages of their publishers say; a folder's own README comes first
LICENCES = {
    "openai": "MIT",
    "laion": "MIT",
    "datacomp": "MIT",
    "commonpool": "MIT",
    "webli": "Apache-2.0",
    "metaclip": "CC-BY-NC-4.0 (not for commercial use)",
}


@dataclass(frozen=True)
class CardFacts:
    """What the card is written from.

    Attributes:
        name: under which the model is registered.
        run_id: of the stage run.
        report: address of its report in MLflow's UI; "" where it has none.
        stage: "stage1", "stage2" or "fusion".
        members: of a fusion: what each is and its weight; else none.
        folds: numbers of the folds in the model; none where all rows trained it.
        backbone: as the run names it, without a path.
        licence: of its weights.
        config: that the model is used with.
        table: out of fold.
        figures: of it.
        data_digest, split: of the training table, and of its folds.
        commit: of the code; "" where it isn't known.
        dirty: "true" where the code had changes that no commit holds.
        size: bytes.
        seconds_a_row: on the machine that registered it.
        text_cols: of the input.
    """

    name: str
    run_id: str
    report: str
    stage: str
    members: Sequence[tuple[str, float]]
    folds: Sequence[int]
    backbone: str
    licence: str
    config: Config
    table: ProbabilityTable
    figures: Figures
    data_digest: str
    split: str
    commit: str
    dirty: str
    size: int
    seconds_a_row: float
    text_cols: Sequence[str]


def write_card(facts: CardFacts) -> str:
    """The card as Markdown."""
    config, figures = facts.config, facts.figures
    towers = {"stage1": "frozen, head only", "stage2": "fine-tuned"}.get(facts.stage, "members pooled")
    views = "mean with the horizontal flip" if config.infer.tta else "one view"
    sizes = ", ".join(map(str, config.infer.img_sizes or [config.data.img_size]))
    commit = f"`{facts.commit[:12]}`" if facts.commit else "unknown"
    if facts.dirty == "true":
        commit += ", with changes that it doesn't hold"
    made_of, how = _made_of(facts)
    folds = f"{', '.join(map(str, facts.folds))} of {config.train.folds}" if facts.folds else "all rows"
    members = [[f"member: {name}", f"weight {weight:.2f}"] for name, weight in facts.members]
    of_all_rows = (figures.oof_top1, figures.oof_top3, figures.macro_f1, figures.calibration_error)
    overall = [figures.top1, *(f"{figure:.4f}" for figure in of_all_rows)]
    report = f", its [report]({facts.report})" if facts.report else ""
    example = ", ".join(f'"{column}": "..."' for column in facts.text_cols)
    lines = [
        f"# {facts.name}: {len(facts.table.classes)} classes of products from pictures and text",
        "",
        f"{facts.stage} of {facts.backbone} ({towers}), {made_of}, {views}.",
        "",
        "## How good it is",
        "",
        f"Cross-validation, each row scored by the fold that was not trained on it ({len(facts.table):,} rows):",
        "",
        *markdown_table(["top-1 by fold", "top-1", "top-3", "macro-F1", "calibration error"], [overall]),
        "",
        how,
        "",
        *_classes(facts.table),
        "",
        "## How to call it",
        "",
        "```python",
        f'model = mlflow.pyfunc.load_model("{MODELS}{facts.name}@{CHAMPION}")',
        f'model.predict(pd.DataFrame([{{{example}, "image": Path("1.jpg").read_bytes()}}]), params={{"top_k": 3}})',
        "```",
        "",
        "Every column may be left out and every cell empty; further pictures are `image_2`, ... or a list in `image`. "
        "Over REST a picture is base64. The result has `label`, `confidence`, `top_labels`, `top_confidences`.",
        "",
        "## What it is made of",
        "",
        *markdown_table(
            ["part", "what"],
            [
                ["backbone", f"{facts.backbone}, licence: {facts.licence}"],
                ["pictures", f"{sizes} pixels, {config.data.multi_image_mode} of a product's pictures"],
                ["text", f"{', '.join(facts.text_cols)}; {_text_read(config)}"],
                *(members or [["training", _training(config)]]),
                ["folds", folds],
                ["data", f"digest `{facts.data_digest}`, folds `{facts.split}`"],
                ["run", f"`{facts.run_id}`{report}"],
                ["code", f"commit {commit}"],
                ["cost", f"{facts.size / 1e6:,.0f} MB; {facts.seconds_a_row:.3f} s a row where it was registered"],
            ],
        ),
        "",
        "## When to believe it",
        "",
        'What is surer than a threshold can be labelled without a person: `params={"precision": 0.98}` answers '
        "`unassigned` below. Each fold's rows were judged by the threshold of the other folds' rows:",
        "",
        *_thresholds(facts.table),
        "",
        "## Limits",
        "",
        f"- It knows the {len(facts.table.classes)} classes above and gives one of them to anything it is shown.",
        "- The confidence is as good as the calibration error says, on products like those it was trained on.",
        "- Text beyond the limit is cut off; of several pictures it sees what the table above says.",
        "- The backbone was trained on pictures and texts of the web, whose leanings it may have kept.",
    ]
    return "\n".join(lines) + "\n"


def _training(config: Config) -> str:
    """How the head was made."""
    if config.model.head == "kernel":
        return f"a head that is solved, on the kernels {', '.join(config.model.kernels)}"
    if config.model.head == "zero-shot":
        templates = ", ".join(f'"{template}"' for template in config.model.templates)
        counts = "a text counts" if config.model.sides == ["text"] else "a picture and a text count"
        return f"of the classes' names alone, in {templates}; how much {counts} was fitted"
    return (
        f"at most {config.train.epochs} epochs, batch {config.train.batch_size}, learning rates {_rates(config)}, "
        f"weight decay {config.train.weight_decay:g}"
    )


def _made_of(facts: CardFacts) -> tuple[str, str]:
    """What scores, and what its figures say of that."""
    if facts.members:
        said = "The members' weights were learned on the rows of the other folds. Members that are averages over folds "
        return f"{len(facts.members)} members", said + "are usually better than in these figures."
    if not facts.folds:
        said = "The figures are those of models trained on the other folds; the one that is served has seen all rows."
        return "trained on all rows", said
    optimistic = "The first figure is the mean over the folds' best epochs, and so a little optimistic. "
    said = "The figures are those of single folds; their average is usually better."
    several = "one fold" if len(facts.folds) == 1 else f"{len(facts.folds)} folds averaged"
    return several, (optimistic if facts.config.model.head == "mlp" else "") + said


def find_licence(name: str, pretrained: str) -> str:
    """Licence of a backbone's weights: what its folder's README says, else what its publisher is known to say."""
    if name.startswith(LOCAL_DIR):
        return (
            _licence_in(Path(name.removeprefix(LOCAL_DIR)) / "README.md") or "not stated in its folder; ask its origin"
        )
    if name.startswith(HF_HUB):
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(name.removeprefix(HF_HUB).partition("@")[0], "README.md")
        stated = _licence_in(Path(found)) if isinstance(found, str) else ""
        return stated or f"see the page of {name.removeprefix(HF_HUB)} on the hub"
    if not pretrained:
        return "none, random weights"
    for family, licence in LICENCES.items():
        if pretrained.startswith(family):
            return licence
    return f"not known for {pretrained}; see its page"


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table; `|` in a cell is escaped.

    A wide space ends each cell but the last, since MLflow shows tables without any between the columns.
    """
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (header, *rows)]
    spaced = [[*(f"{cell}{GAP}" for cell in row[:-1]), row[-1]] for row in lines]
    return [f"| {' | '.join(row)} |" for row in (spaced[0], ["---"] * len(header), *spaced[1:])]


def _classes(table: ProbabilityTable) -> list[str]:
    figures = per_class(table.probabilities, table.targets())
    most_rows_first = sorted(range(len(table.classes)), key=lambda c: (-int(figures["rows"][c]), table.classes[c]))
    rows = [
        [
            table.classes[c],
            f"{int(figures['rows'][c]):,}" if figures["rows"][c] else "none, known by its name",
            *(f"{float(figures[name][c]):.3f}" if figures["rows"][c] else "" for name in ("precision", "recall", "f1")),
        ]
        for c in most_rows_first[:MOST_CLASSES]
    ]
    lines = markdown_table(["class", "rows", "precision", "recall", "F1"], rows)
    if len(table.classes) > MOST_CLASSES:
        lines += ["", f"and {len(table.classes) - MOST_CLASSES:,} smaller classes."]
    return lines


def _thresholds(table: ProbabilityTable) -> list[str]:
    found = find_thresholds(table)
    if not found:
        return ["No confidence was reliable enough for a threshold."]
    rows = []
    for threshold in found:
        held = hold_out(table, threshold.precision)
        reached = (
            f"{held.precision:.3f} ({held.low:.3f} to {held.high:.3f})" if held.coverage else "none was sure enough"
        )
        rows.append([f"{threshold.precision:g}", f"{threshold.confidence:.3f}", f"{held.coverage:.3f}", reached])
    return markdown_table(["wanted precision", "confidence from", "share of rows", "precision, 95 % interval"], rows)


def _text_read(config: Config) -> str:
    """How much of a text is seen."""
    kernels = config.model.kernels if config.model.head == "kernel" else ["text"]
    parts = [f"at most {config.data.max_len} tokens"] if "text" in kernels or "product" in kernels else []
    parts += [f"its {name}" for name in ("words", "chars") if name in kernels]
    return " and ".join(parts).replace("chars", "characters") or "not read"


def _rates(config: Config) -> str:
    rates: Mapping[str, float] = config.train.lrs.model_dump()
    used = rates if config.model.clip_trainable else {"head": rates["head"]}
    return ", ".join(f"{name} {rate:g}" for name, rate in used.items())


def _licence_in(path: Path) -> str:
    """The `license:` of a README's front matter, as the hub writes it; "" where there is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()[:50]
    except (OSError, UnicodeDecodeError):
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("license:")), "")
