"""The one command: train what suits the table and the machine, fuse it, register the best.

    python -m entrypoints.fit --csv train.csv --images images/

A CPU fine-tunes only where `--budget` has room for it.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import mmclf

from .common import run
from .options import parse_duration, parse_flag, parse_resume

DEFAULTS = {
    "csv": None,
    "images": None,
    "overrides": "",
    "budget": "",
    "name": "mmclf",
    "force": "false",
    "resume": "auto",
    "report": "true",
    "estimate": "false",
}


def fit(options: argparse.Namespace) -> dict[str, Any]:
    """Train, fuse and register; returns the headline figures."""
    budget, force = parse_duration("budget", options.budget), parse_flag("force", options.force)
    if parse_flag("estimate", options.estimate):
        return mmclf.estimate_fit(options.csv, images=options.images, overrides=options.overrides, budget=budget)
    found = mmclf.fit(
        options.csv,
        images=options.images,
        overrides=options.overrides,
        budget=budget,
        name=options.name,
        force=force,
        resume=parse_resume(options.resume),
        report=parse_flag("report", options.report),
    )
    return found.figures


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(fit, "Train what suits the table and the machine, fuse it, and register the best.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
