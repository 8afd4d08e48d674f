"""What every entry point does the same way: options, errors, the line of JSON at the end."""

import argparse
import contextlib
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmclf.runtime import environment
from mmclf.runtime.stopping import INTERRUPTED, handled
from mmclf.store.scratch import own_temporary_folder

from .failures import explain
from .options import HELP


def run(
    work: Callable[[argparse.Namespace], dict[str, Any]],
    description: str,
    defaults: Mapping[str, str | None],
    argv: Sequence[str] | None,
) -> int:
    """Parse the options, do the work, print its figures as one line of JSON on stdout.

    Args:
        work: takes the options, returns the figures.
        description: for `--help`.
        defaults: the options of this entry point; None marks a required one. The empty string means "not
            given", since MLproject has no optional parameters.
        argv: without the program's name; None for the command line's.

    Returns:
        The exit code: 0, or 2 after an error that the user can mend, which stands on stderr.
    """
    parser = argparse.ArgumentParser(description=description, allow_abbrev=False)
    for name, default in defaults.items():
        shown = HELP[name] + (f" (default: {default})" if default else "")
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, required=default is None, help=shown)
    options = parser.parse_args(argv)
    # a user can't act on what libraries tell each other; `python -W` and a calling program decide for themselves
    if argv is None and not sys.warnoptions:
        warnings.filterwarnings("ignore")
    try:
        # libraries print; stdout is for the result
        with handled(_last_words), own_temporary_folder(), contextlib.redirect_stdout(sys.stderr):
            figures = work(options)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on with what is finished", file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        said = explain(error)
        if said is None:
            raise
        if environment.RUN_ID.get() or "mlflow" in sys.modules:
            from mmclf.records.failure import note_failure

            note_failure(said)
        print(f"error: {said}", file=sys.stderr)
        return 2
    if figures:  # none in a process that isn't the first of several
        print(json.dumps(figures, ensure_ascii=False))
    return 0


def _last_words(words: str) -> None:
    """Mark the runs of a process that has no time left."""
    if "mlflow" in sys.modules:
        from mmclf.records.tracking import end_open_runs

        end_open_runs(words)
