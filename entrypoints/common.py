"""What every entry point does the same way: options, errors, the line of JSON at the end."""

import argparse
import contextlib
import json
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmclf.errors import ConfigError
from mmclf.runtime import console, environment
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
    parser.add_argument("--quiet", action="store_true", help=HELP["quiet"])
    parser.add_argument("--log-file", default="", help=HELP["log_file"])
    options = parser.parse_args(argv)
    # a user can't act on what libraries tell each other; `python -W` and a calling program decide for themselves
    if argv is None and not sys.warnoptions:
        warnings.filterwarnings("ignore")
    try:
        with _console(options):
            code, figures = _do(work, options)
    except ConfigError as error:  # of the console's own
        console.complain(f"error: {error}")
        return 2
    if figures:  # none in a process that isn't the first of several
        print(json.dumps(figures, ensure_ascii=False))
    return code


def _do(
    work: Callable[[argparse.Namespace], dict[str, Any]], options: argparse.Namespace
) -> tuple[int, dict[str, Any]]:
    """Do the work; returns the exit code and the figures."""
    try:
        with handled(_last_words), own_temporary_folder(), _library_output():
            return 0, work(options)
    except KeyboardInterrupt:
        console.complain("interrupted; the same command goes on with what is finished")
        return INTERRUPTED, {}
    except Exception as error:
        said = explain(error)
        if said is None:
            console.note(traceback.format_exc())
            raise
        if environment.RUN_ID.get() or "mlflow" in sys.modules:
            from mmclf.records.failure import note_failure

            note_failure(said)
        console.complain(f"error: {said}")
        return 2, {}


@contextlib.contextmanager
def _console(options: argparse.Namespace) -> Iterator[None]:
    """What is printed and what is logged, also by processes that are started meanwhile.

    Raises:
        ConfigError: the environment can't be understood, or the log file not be written.
    """
    quiet = options.quiet or environment.QUIET.flag()
    log_file = options.log_file or environment.LOG_FILE.get()
    log_file = str(Path(log_file).expanduser().absolute()) if log_file else ""
    with console.settings(quiet=quiet, log_file=log_file), contextlib.ExitStack() as stack:
        if quiet:
            stack.enter_context(environment.QUIET.held("true"))
        if log_file:
            stack.enter_context(environment.LOG_FILE.held(log_file))
        yield


@contextlib.contextmanager
def _library_output() -> Iterator[None]:
    """Libraries print: on stderr, since stdout is for the result, or nowhere."""
    with contextlib.ExitStack() as stack:
        if console.is_quiet():
            nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stderr(nowhere))
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield


def _last_words(words: str) -> None:
    """Mark the runs of a process that has no time left."""
    if "mlflow" in sys.modules:
        from mmclf.records.tracking import end_open_runs

        end_open_runs(words)
