"""Stage 2: the towers are fine-tuned with the head, each fold from the same fold's stage-1 best.

    python -m entrypoints.stage2
    torchrun --nproc-per-node 4 -m entrypoints.stage2       # on four GPUs

Table and pictures default to those of the stage-1 run, and that run to the newest finished one of the
experiment that has the same rows in the same folds, the same backbone and the same head.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import mmclf

from .common import run
from .options import parse_flag, parse_fold, parse_resume

DEFAULTS = {
    "csv": "",
    "images": "",
    "config": "configs/stage2.yaml",
    "overrides": "",
    "fold": "all",
    "stage1_run": "",
    "resume": "auto",
    "report": "true",
}


def stage2(options: argparse.Namespace) -> dict[str, Any]:
    """Fine-tune every fold from its stage-1 best; returns the headline figures."""
    found = mmclf.stage2(
        options.csv or None,
        images=options.images or None,
        config=options.config,
        overrides=options.overrides,
        fold=parse_fold("fold", options.fold),
        stage1_run=options.stage1_run or None,
        resume=parse_resume(options.resume),
        report=parse_flag("report", options.report),
    )
    return found.figures


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(stage2, "Fine-tune OpenCLIP and head, each fold from its stage-1 best.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
