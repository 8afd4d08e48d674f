"""Average the probabilities of several infer runs, or fuse stage runs by learned weights.

    python -m entrypoints.ensemble --runs <infer run>,<infer run> --weights 2,1
    python -m entrypoints.ensemble --runs <stage-1 run>,<stage-1 run>

Without `--runs`: the newest infer run of each scored model and img_size, of the same table as the newest one.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import mmclf

from .common import run
from .options import parse_flag, parse_ids, parse_weights

DEFAULTS = {"runs": "", "weights": "", "out": "", "report": "true"}


def ensemble(options: argparse.Namespace) -> dict[str, Any]:
    """Write the averaged submission.csv and probabilities.parquet; returns the headline figures."""
    weights = parse_weights("weights", options.weights)
    report = parse_flag("report", options.report)
    return mmclf.ensemble(runs=parse_ids(options.runs), weights=weights, out=options.out, report=report).figures


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(ensemble, "Average several infer runs, or fuse stage runs.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
