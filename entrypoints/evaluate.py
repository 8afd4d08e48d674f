"""Score a table whose labels are known, with the registered champion, and say whether it is as good as expected.

    python -m entrypoints.evaluate --csv labelled.csv --images images/
    python -m entrypoints.evaluate --csv test.csv --labels test_labels.csv --images images/ --model RUN_ID

`infer` on a table that has labels does it too, besides writing its own files.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import mmclf

from .common import run
from .options import parse_flag, parse_fold

DEFAULTS = {
    "csv": None,
    "images": None,
    "labels": "",
    "config": "",
    "overrides": "",
    "fold": "all",
    "model": "",
    "report": "true",
}


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Score and judge; returns the headline figures."""
    fold, report = parse_fold("fold", options.fold), parse_flag("report", options.report)
    found = mmclf.evaluate(
        options.csv,
        images=options.images,
        labels=options.labels or None,
        model=options.model,
        config=options.config,
        overrides=options.overrides,
        fold=fold,
        report=report,
    )
    return found.figures


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(evaluate, "Score a table whose labels are known, beside what was expected.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
