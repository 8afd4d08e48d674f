"""What every entry point does the same way: options, errors, the line of JSON at the end."""

import argparse
import contextlib
import json
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmclf.config import Config, build_config, load_config, read_yaml
from mmclf.errors import ConfigError, FoldError, MmclfError
from mmclf.model.identity import LOCAL_DIR
from mmclf.runtime.progress import say

OPTIONS = {
    "csv": "the table: a CSV with a header and an id column",
    "images": "the folder of pictures, named <id>.jpg or <id>_1.jpg",
    "config": "the YAML file with the configuration",
    "overrides": 'changes to it, as "train.epochs=3 data.img_size=336"',
    "fold": "`all`, or the number of one fold",
    "stage1_run": "id of a stage-1 run",
    "stage2_run": "id of a stage-2 run",
    "runs": "ids of runs, separated by commas (default: all that fit)",
    "model": "what scores: models:/NAME@ALIAS, models:/NAME/VERSION or a run id; several separated by commas",
    "data": "a CSV, or a parquet file or folder; a path or a URI that Spark knows",
    "master": "of Spark: local[4], spark://host:7077, yarn (default: that of spark-submit, or local[*])",
    "top_k": "labels a row in the result",
    "part_rows": "rows a part; finished parts survive an interrupt",
    "metric": "what decides: cv/top1_mean, cv/top3_mean, cv/oof_top1 or cv/macro_f1",
    "name": "name of the registered model",
    "folds": "the folds in the model: `all`, or the number of one",
    "force": "`true` takes the alias whatever the comparison says",
    "weights": "one weight a run, separated by commas (default: equal)",
    "out": "a folder that the result files are copied to as well",
    "clear": "delete `all`, `features`, `pictures` or `backbones`",
    "unused_days": "with --clear: only what wasn't used for so many days",
}


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
        shown = OPTIONS[name] + (f" (default: {default})" if default else "")
        parser.add_argument(f"--{name.replace('_', '-')}", default=default, required=default is None, help=shown)
    options = parser.parse_args(argv)
    with contextlib.suppress(ValueError):  # not in the main thread, or not on this system
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # closes the run on the way out
    # a user can't act on what libraries tell each other; `python -W` and a calling program decide for themselves
    if argv is None and not sys.warnoptions:
        warnings.filterwarnings("ignore")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # libraries print; stdout is for the result
            figures = work(options)
    except MmclfError as error:
        from mmclf.records.tracking import note_failure

        note_failure(str(error))
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; finished folds are kept", file=sys.stderr)
        return 130
    if figures:  # none in a process that isn't the first of several
        print(json.dumps(figures, ensure_ascii=False))
    return 0


def read_config(options: argparse.Namespace) -> Config:
    """The configuration of the options, its paths made absolute, so that a later run finds them from anywhere."""
    return absolute_paths(load_config(options.config, options.overrides))


def absolute_paths(config: Config) -> Config:
    """The configuration with the paths in `model.name` and `data.groups_csv` made absolute."""
    model, data = config.model, config.data
    if model.name.startswith(LOCAL_DIR):
        path = Path(model.name.removeprefix(LOCAL_DIR)).expanduser().resolve()
        model = model.model_copy(update={"name": f"{LOCAL_DIR}{path}"})
    if data.groups_csv is not None:
        data = data.model_copy(update={"groups_csv": str(Path(data.groups_csv).expanduser().resolve())})
    return config.model_copy(update={"model": model, "data": data})


def changed_config(trained: Config, overrides: str, path: str = "") -> Config:
    """The configuration that a model was trained with, under what is given now for `data` and `infer`.

    Args:
        trained: resolved.
        overrides: as on the command line.
        path: of a YAML file whose `data` and `infer` count too; "" for none.

    Raises:
        ConfigError: a key that belongs to training, or any other mistake.
    """
    tree = trained.model_dump(mode="json")
    if path:
        for section, values in read_yaml(Path(path)).items():
            if section in ("model", "train"):
                continue  # the model has its own
            if section in tree and isinstance(values, dict):
                tree[section].update(values)
            else:
                tree[section] = values  # not a section; named as such below
    config = build_config(tree, overrides, source=path or "configuration")
    changed = [
        key
        for key, value in config.flat().items()
        if key.startswith(("model.", "train.")) and key != "train.amp" and value != trained.flat()[key]
    ]
    if changed:
        raise ConfigError(
            f"overrides: {changed[0]} belongs to training and can't be changed for a trained model; data.*, infer.* "
            "and train.amp can"
        )
    return config


def parse_count(name: str, text: str) -> int:
    """An option that is a number of 1 or more.

    Raises:
        ConfigError: it isn't.
    """
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"--{name}: found {text!r}; give a number of 1 or more")
    return int(text)


def parse_flag(name: str, text: str) -> bool:
    """An option that is `true` or `false`.

    Raises:
        ConfigError: neither.
    """
    if text not in ("true", "false"):
        raise ConfigError(f"--{name}: found {text!r}; give `true` or `false`")
    return text == "true"


def parse_fold(text: str) -> int | None:
    """The option `fold`: None for `all`.

    Raises:
        ConfigError: neither `all` nor a number.
    """
    if text == "all":
        return None
    if not text.isdecimal():
        raise ConfigError(f"--fold: found {text!r}; give `all` or the number of a fold")
    return int(text)


def choose_folds(present: Sequence[int], wanted: str) -> list[int]:
    """The folds to run: all, or the one that is wanted.

    Raises:
        ConfigError, FoldError: not a number, or no such fold.
    """
    fold = parse_fold(wanted)
    if fold is None:
        return list(present)
    if fold not in present:
        raise FoldError(f"--fold: there is no fold {fold}; the folds are {', '.join(map(str, present))}")
    return [fold]


def describe(summary: dict[str, int]) -> str:
    """Counts of a catalogue as one line."""
    return ", ".join(f"{value:,} {name.replace('_', ' ')}" for name, value in summary.items())


def say_unreadable(examples: Sequence[str], count: int) -> None:
    """Name the first few of the pictures that were replaced by the placeholder."""
    if count:
        more = f" and {count - 3:,} more" if count > 3 else ""
        say(f"warning: {count:,} unreadable pictures became black: {'; '.join(examples[:3])}{more}")
