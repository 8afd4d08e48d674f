"""A page in the browser that asks a registered model, on this machine alone.

    python -m entrypoints.app --csv train.csv --images images/
    python -m entrypoints.app --model models:/mmclf/3 --port 8000

Drop pictures, write a title: classes with their confidence, what each part says alone, and, where the training table is
given, the products most like it. A second tab labels a table or a folder of pictures. See docs/app.md.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import mmclf

from .common import run
from .options import parse_port

DEFAULTS = {"model": "models:/mmclf@champion", "csv": "", "images": "", "host": "127.0.0.1", "port": "7860"}


def app(options: argparse.Namespace) -> dict[str, Any]:
    """Serve the page until Ctrl-C; there are no figures."""
    port = parse_port("port", options.port)
    mmclf.app(
        options.model or DEFAULTS["model"],
        table=options.csv,
        images=options.images,
        host=options.host or DEFAULTS["host"],
        port=port,
    )
    return {}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return run(app, "Ask a model in the browser.", DEFAULTS, argv)


if __name__ == "__main__":
    sys.exit(main())
