"""Register the best run as a model that anyone can load: models:/mmclf@champion.

    python -m entrypoints.register

Compares the finished runs of stage1 and stage2 on the newest one's data and folds, and packs the best.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import mmclf

from .common import run
from .options import parse_flag, parse_fold, parse_ids

DEFAULTS = {
    "runs": "",
    "metric": "cv/top1_mean",
    "name": "mmclf",
    "folds": "all",
    "overrides": "",
    "force": "false",
}


def register(options: argparse.Namespace) -> dict[str, Any]:
    """Choose, pack and register; returns the headline figures."""
    fold, force = parse_fold("folds", options.folds), parse_flag("force", options.force)
    found = mmclf.register(
        runs=parse_ids(options.runs),
        metric=options.metric,
        name=options.name,
        fold=fold,
        overrides=options.overrides,
        force=force,
    )
    return found.figures


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(register, "Register the best run as a model.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
