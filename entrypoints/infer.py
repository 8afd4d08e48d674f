"""Score a table with the registered champion: all its folds averaged, with flip TTA.

    python -m entrypoints.infer --csv test.csv --images images/
    python -m entrypoints.infer --csv test.csv --images images/ --model models:/mmclf/3,RUN_ID

Without a champion, the newest stage 2 scores. Another scale is `--overrides data.img_size=280`; `ensemble` averages
the runs. Of a table that has labels the figures are given too, and a report is made, as by `evaluate`.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import mmclf

from .common import run
from .options import parse_flag, parse_fold, parse_share

DEFAULTS = {
    "csv": None,
    "images": None,
    "config": "",
    "overrides": "",
    "fold": "all",
    "model": "",
    "precision": "0",
    "out": "",
    "report": "true",
}


def infer(options: argparse.Namespace) -> dict[str, Any]:
    """Write submission.csv and probabilities.parquet; returns the headline figures."""
    fold, report = parse_fold("fold", options.fold), parse_flag("report", options.report)
    found = mmclf.infer(
        options.csv,
        images=options.images,
        model=options.model,
        config=options.config,
        overrides=options.overrides,
        fold=fold,
        precision=parse_share("precision", options.precision),
        out=options.out,
        report=report,
    )
    return found.figures


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(infer, "Score a table with the folds of a run.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
