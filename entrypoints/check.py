"""The data doctor: what is wrong with a table and its pictures, before anything is trained on them.

    python -m entrypoints.check --csv train.csv --images images/
    python -m entrypoints.check --csv train.csv --images images/ --test-csv test.csv --out checked

Exit code 1 where something would make training wrong; the line that mends it stands below the finding.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import mmclf

from .common import run

DEFAULTS = {
    "csv": None,
    "images": None,
    "test_csv": "",
    "config": "configs/stage1.yaml",
    "overrides": "",
    "out": "",
}
WRONG = 1


def check(options: argparse.Namespace) -> dict[str, Any]:
    """Examine the table; returns the headline figures."""
    found = mmclf.check(
        options.csv,
        images=options.images,
        test=options.test_csv,
        config=options.config,
        overrides=options.overrides,
        out=options.out,
    )
    return found.figures


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code: 0, 1 where something would make training wrong, 2 after an error."""
    wrong = []

    def work(options: argparse.Namespace) -> dict[str, Any]:
        figures = check(options)
        wrong.append(figures["wrong"])
        return figures

    code = run(work, "Examine a table and its pictures before training.", DEFAULTS, argv)
    return WRONG if code == 0 and any(wrong) else code


if __name__ == "__main__":
    sys.exit(main())
