"""Score a catalogue of any size on Apache Spark with a registered model.

    python -m entrypoints.batch --data products.parquet --out scored
    python -m entrypoints.batch --data products.csv --images images/ --out scored --master spark://host:7077

An interrupted run goes on where it was: give the same command again.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import mmclf

from .common import run
from .options import parse_count, parse_flag

DEFAULTS = {
    "data": None,
    "images": "",
    "out": None,
    "model": "models:/mmclf@champion",
    "master": "",
    "top_k": "3",
    "part_rows": "100000",
    "estimate": "false",
}


def batch(options: argparse.Namespace) -> dict[str, Any]:
    """Score the table part by part; returns the headline figures."""
    top_k, part_rows = parse_count("top-k", options.top_k), parse_count("part-rows", options.part_rows)
    if parse_flag("estimate", options.estimate):
        return mmclf.estimate_batch(options.data, images=options.images, model=options.model)
    found = mmclf.batch(
        options.data,
        out=options.out,
        images=options.images,
        model=options.model,
        master=options.master,
        top_k=top_k,
        part_rows=part_rows,
    )
    return found.figures


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(batch, "Score a catalogue of any size on Apache Spark.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
