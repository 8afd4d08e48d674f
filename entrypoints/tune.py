"""Tune stage 1: settings of the head tried out on stored features, each judged by the same folds.

    python -m entrypoints.tune --csv train.csv --images images/ --trials 30

The same command goes on where it was cut off, and ends with a configuration for stage1.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import mmclf

from .common import run
from .options import parse_count, parse_duration

DEFAULTS = {
    "csv": None,
    "images": None,
    "config": "configs/stage1.yaml",
    "overrides": "",
    "trials": "30",
    "budget": "",
    "space": "",
    "metric": "cv/loss",
    "out": "",
}


def tune(options: argparse.Namespace) -> dict[str, Any]:
    """Search for better settings of the head; returns the headline figures."""
    trials, budget = parse_count("trials", options.trials), parse_duration("budget", options.budget)
    found = mmclf.tune(
        options.csv,
        images=options.images,
        config=options.config,
        overrides=options.overrides,
        trials=trials,
        budget=budget,
        space=options.space,
        metric=options.metric,
        out=options.out,
    )
    return found.figures


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(tune, "Search for better settings of the head, on stored features.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
