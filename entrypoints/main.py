"""The demo: draw a catalogue, make a tiny CLIP, and run stage1 -> stage2 -> register -> infer by `mlflow run`.

mlflow run . --env-manager local
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .common import run

DEFAULTS = {"out": "demo-output"}


def demo(options: argparse.Namespace) -> dict[str, Any]:
    """Run the whole chain on data made here; returns the headline figures."""
    from demo.chain import run_demo

    return run_demo(Path(options.out))


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(demo, "Try everything on a drawn catalogue and a tiny CLIP.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
