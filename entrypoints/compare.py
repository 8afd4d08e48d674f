"""Compare finished runs on the same rows and folds with the first of them, row by row.

    python -m entrypoints.compare --runs RUN,RUN

Differences with intervals, classes, rows mended and broken with their pictures, and what the runs cost: as a page.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import mmclf

from .common import run
from .options import parse_ids

DEFAULTS = {"runs": None}


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Compare and make the page; returns the headline figures."""
    return mmclf.compare(runs=parse_ids(options.runs)).figures


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(compare, "Compare finished runs on the same rows and folds.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
