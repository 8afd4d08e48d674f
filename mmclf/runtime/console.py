"""Where lines for people go: to stderr, unless all is to be quiet, and with the time of each to a log file.

Settings of the whole process, as stderr is: an entry point makes them, and a program that calls mmclf needn't.
"""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tqdm import tqdm

from ..errors import ConfigError


@dataclass
class _Console:
    quiet: bool = False
    log: TextIO | None = None


_console = _Console()


@contextlib.contextmanager
def settings(*, quiet: bool, log_file: str) -> Iterator[None]:
    """Hold these settings for a while.

    Args:
        quiet: print nothing but errors.
        log_file: a file that all lines are added to; "" for none.

    Raises:
        ConfigError: the file can't be written.
    """
    before = _console.quiet, _console.log
    with contextlib.ExitStack() as stack:
        log = None
        if log_file:
            try:
                log = stack.enter_context(Path(log_file).expanduser().open("a", encoding="utf-8"))
            except OSError as error:
                raise ConfigError(f"--log-file: {log_file}: can't be written ({error.strerror})") from None
        _console.quiet, _console.log = quiet, log
        try:
            yield
        finally:
            _console.quiet, _console.log = before


def is_quiet() -> bool:
    """Whether nothing but errors is printed."""
    return _console.quiet


def has_bar() -> bool:
    """Whether a bar can be shown: on a terminal, unless that says it has no columns or rows, as some recorders do."""
    if _console.quiet or not sys.stderr.isatty():
        return False
    try:
        return all(os.get_terminal_size(sys.stderr.fileno()))
    except (OSError, ValueError):
        return True


def say(text: str) -> None:
    """One line on stderr, above a bar where one is shown, and in the log file."""
    note(text)
    if _console.quiet:
        return
    if sys.stderr.isatty():
        tqdm.write(text, file=sys.stderr)
    else:
        print(text, file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """The same for an error, which is never quiet."""
    note(text)
    print(text, file=sys.stderr, flush=True)


def note(text: str) -> None:
    """Lines in the log file alone."""
    if _console.log is None:
        return
    stamp = time.strftime("%Y-%m-%d %H:%M:%S")
    with contextlib.suppress(OSError):  # a full disk mustn't end the work
        _console.log.write("".join(f"{stamp} {line}\n" for line in text.splitlines()))
        _console.log.flush()
