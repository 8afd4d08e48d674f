"""Stage 1: the towers are frozen, one head per fold is trained on their features.

python -m entrypoints.stage1 --csv train.csv --images images/
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import mmclf

from .common import run
from .options import parse_flag, parse_fold, parse_resume

DEFAULTS = {
    "csv": None,
    "images": None,
    "config": "configs/stage1.yaml",
    "overrides": "",
    "fold": "all",
    "resume": "auto",
    "report": "true",
}


def stage1(options: argparse.Namespace) -> dict[str, Any]:
    """Cross-validate a head on frozen features; returns the headline figures."""
    found = mmclf.stage1(
        options.csv,
        images=options.images,
        config=options.config,
        overrides=options.overrides,
        fold=parse_fold("fold", options.fold),
        resume=parse_resume(options.resume),
        report=parse_flag("report", options.report),
    )
    return found.figures


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(stage1, "Train one head per fold on frozen OpenCLIP features.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
