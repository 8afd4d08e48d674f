"""Descriptions of runs, Markdown. MLflow's UI shows a few lines and hides the rest: what counts comes first."""

from collections.abc import Sequence

# a line break within a paragraph
BREAK = "  \n"


def compose(headline: str, commands: Sequence[str], details: Sequence[str] = ()) -> str:
    """A description.

    Args:
        headline: what was reached, one line.
        commands: what can be done next, each a line of the shell.
        details: lines, as of a table.
    """
    steps = [f"{word} `{command}`" for word, command in zip(("Next:", *["or"] * len(commands)), commands, strict=False)]
    return "\n\n".join(part for part in (BREAK.join([headline, *steps]), "\n".join(details)) if part)


def insert(note: str, line: str) -> str:
    """A description with another line below its headline."""
    headline, *rest = note.split("\n", 1)
    return "\n".join([f"{headline.rstrip()}{BREAK}{line}{'  ' if headline.endswith('  ') else ''}", *rest])


def interrupted(status: str, reason: str) -> str:
    """The description of a run that ended before it was finished.

    Args:
        status: KILLED or FAILED.
        reason: why; it may be any text.
    """
    quoted = "\n".join(f"    {line}" for line in reason[:4000].splitlines())
    again = ", and the same command goes on with what is finished" if status == "KILLED" else ""
    return f"**{status}**{again}:\n\n{quoted}"
