"""The options of the entry points: what they mean, and how their texts are read."""

from mmclf.errors import ConfigError

MOST = 10**9
MOST_PORT = 2**16 - 1
HELP = {
    "csv": "the table: a CSV with a header and an id column",
    "labels": "a table with the id and the label of each row, where --csv has no labels",
    "test_csv": "a table that will be scored, to compare with (default: none)",
    "images": "the folder of pictures, named <id>.jpg or <id>_1.jpg",
    "config": "the YAML file with the configuration",
    "overrides": 'changes to it, as "train.epochs=3 data.img_size=336"',
    "resume": "`auto` goes on with the same work where its process was killed; `never` starts anew",
    "fold": "`all`, or the number of one fold",
    "stage1_run": "id of a stage-1 run",
    "runs": "ids of runs, separated by commas (default: all that fit)",
    "model": "what scores: models:/NAME@ALIAS, models:/NAME/VERSION or a run id; several separated by commas",
    "data": "a CSV, or a parquet file or folder; a path or a URI that Spark knows",
    "master": "of Spark: local[4], spark://host:7077, yarn (default: that of spark-submit, or local[*])",
    "top_k": "labels a row in the result",
    "part_rows": "rows a part; finished parts survive an interrupt",
    "precision": "label only rows that are sure enough for this share of right ones, as 0.98; the rest: unassigned",
    "metric": "what decides: cv/top1_mean, cv/top3_mean, cv/oof_top1 or cv/macro_f1; of tune cv/loss or cv/top1_mean",
    "name": "name of the registered model",
    "folds": "the folds in the model: `all`, or the number of one",
    "force": "`true` takes the alias whatever the comparison says",
    "weights": "one weight a run, separated by commas (default: equal)",
    "out": "a folder that the result files are copied to as well",
    "trials": "settings to try, over all starts of the same search",
    "budget": "time to keep to by leaving out, or ending early, what can be: 90s, 10m, 2h (default: no limit)",
    "space": "a YAML file of what is tried: `train.lrs.head: {low: 1e-4, high: 1e-2, log: true}` (default: the head's)",
    "estimate": "`true` says what time, memory and disk it would take, and does nothing else",
    "quiet": "print nothing but errors and the result; also by MMCLF_QUIET=true",
    "log_file": "a file that all lines are added to, with their times; also by MMCLF_LOG_FILE",
    "report": "`false` leaves the report of the run out",
    "host": "the address to listen on",
    "port": "the port to listen on; 0 for any that is free",
    "clear": "delete `all`, `features` or `backbones`",
    "unused_days": "with --clear: only what wasn't used for so many days",
}


def parse_ids(text: str) -> list[str]:
    """Ids that are separated by commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def parse_fold(name: str, text: str) -> int | None:
    """The number of a fold; None for `all`.

    Raises:
        ConfigError: neither `all` nor a number.
    """
    if text == "all":
        return None
    if not _is_count(text):
        raise ConfigError(f"--{name}: found {text!r}; give `all` or the number of a fold")
    return int(text)


def parse_resume(text: str) -> bool:
    """Whether a run may go on.

    Raises:
        ConfigError: neither `auto` nor `never`.
    """
    if text not in ("auto", "never"):
        raise ConfigError(f"--resume: found {text!r}; give `auto` or `never`")
    return text == "auto"


def parse_count(name: str, text: str, *, least: int = 1) -> int:
    """A number.

    Raises:
        ConfigError: it isn't, or less than `least`, or more than a thousand million.
    """
    if not _is_count(text) or int(text) < least:
        raise ConfigError(f"--{name}: found {text!r}; give a number of {least} or more")
    return int(text)


def parse_port(name: str, text: str) -> int:
    """The number of a port; 0 for any that is free.

    Raises:
        ConfigError: it is none.
    """
    if not _is_count(text) or int(text) > MOST_PORT:
        raise ConfigError(f"--{name}: found {text!r}; give a number from 0 to {MOST_PORT}, 0 for any that is free")
    return int(text)


def _is_count(text: str) -> bool:
    # Python refuses to read numbers of thousands of digits
    return text.isdecimal() and len(text) <= len(str(MOST)) and int(text) <= MOST


def parse_duration(name: str, text: str) -> float | None:
    """Seconds, from `90s`, `10m` or `2h`; None for no text.

    Raises:
        ConfigError: something else.
    """
    if not text.strip():
        return None
    number, unit = text.strip()[:-1], text.strip()[-1]
    try:
        seconds = float(number) * {"s": 1, "m": 60, "h": 3600}[unit]
        if 0 < seconds < float("inf"):
            return seconds
    except (KeyError, ValueError):
        pass
    raise ConfigError(f"--{name}: found {text!r}; give a time such as 90s, 10m or 2h")


def parse_share(name: str, text: str) -> float:
    """A number from 0 to below 1.

    Raises:
        ConfigError: it isn't.
    """
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < 1:
        raise ConfigError(f"--{name}: found {text!r}; give a share below 1, as 0.98, or 0 for none")
    return share


def parse_flag(name: str, text: str) -> bool:
    """`true` or `false`.

    Raises:
        ConfigError: neither.
    """
    if text not in ("true", "false"):
        raise ConfigError(f"--{name}: found {text!r}; give `true` or `false`")
    return text == "true"


def parse_weights(name: str, text: str) -> list[float] | None:
    """Numbers separated by commas; None for no text.

    Raises:
        ConfigError: one isn't a number.
    """
    try:
        return [float(part) for part in text.split(",")] if text.strip() else None
    except ValueError:
        raise ConfigError(f"--{name}: found {text!r}; give numbers separated by commas, one a run") from None
