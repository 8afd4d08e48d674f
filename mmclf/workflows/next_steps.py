"""What comes after a job: where its run is seen, and the command that goes on from it."""

import shlex
from collections.abc import Sequence

from ..records.vocabulary import CHAMPION, DEFAULT_MODEL, DEFAULT_NAME, MODELS
from ..runtime.progress import say


def command(entry_point: str, **options: str) -> str:
    """A line of the shell that runs an entry point.

    Args:
        entry_point: see MLproject.
        options: of it; empty ones are left out.
    """
    given = " ".join(f"-P {name}={shlex.quote(value)}" for name, value in options.items() if value)
    return f"mlflow run . -e {entry_point} --env-manager local {given}".rstrip()


def after_stage(stage: str, head: str, run_id: str, *, is_single: bool) -> list[str]:
    """What can be done with a run of a stage; nothing with one of a single fold.

    Args:
        stage: "stage1" or "stage2".
        head: kind of its head.
        run_id: of it.
        is_single: only one fold was trained.
    """
    if is_single:
        return []
    found = [command("register", runs=run_id)]
    return [*found, command("stage2", stage1_run=run_id)] if (stage, head) == ("stage1", "mlp") else found


def after_registration(model: str, *, is_champion: bool) -> list[str]:
    """What can be done with a registered model.

    Args:
        model: its address, `models:/NAME/VERSION`.
        is_champion: whether it has the alias.
    """
    name = model.removeprefix(MODELS).partition("/")[0]
    model = f"{MODELS}{name}@{CHAMPION}" if is_champion else model
    given = "" if model == DEFAULT_MODEL and name == DEFAULT_NAME else model
    return [
        command("infer", csv="new.csv", images="images/", model=given),
        f"mlflow models serve -m {model} --env-manager local",
    ]


def say_end(run_id: str, commands: Sequence[str]) -> None:
    """Say where a run is seen and what comes next; nothing of a run that is a part of another.

    Args:
        run_id: of the job.
        commands: lines of the shell, the likeliest first.
    """
    from ..records import addresses, runs, tracking

    if tracking.is_part():
        return
    for line in addresses.ways_to(runs.get_run(runs.connect(), run_id)):
        say(line)
    for word, line in zip(("next", *["or"] * len(commands)), commands, strict=False):
        say(f"{word}: {line}")
