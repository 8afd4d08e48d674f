"""--quiet and --log-file, and that something is said before anything heavy is imported.

.venv/bin/python -m pytest tests/entrypoints/test_console.py
"""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from entrypoints import cache, stage1
from entrypoints.common import run
from mmclf.errors import TableError
from mmclf.runtime.console import say
from mmclf.runtime.environment import LOG_FILE, QUIET

PROJECT = Path(__file__).resolve().parents[2]
STAMPED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (.*)")


def work(options):
    print("a library prints")
    print("a library warns", file=sys.stderr)
    say("what is done\nin two lines")
    assert QUIET.flag() == options.quiet  # for processes that are started meanwhile
    return {"figure": 1}


def fail(options):
    raise TableError("train.csv: no rows")


def lines_of(path: Path) -> list[str]:
    matches = [STAMPED.fullmatch(line) for line in path.read_text().splitlines()]
    assert all(matches)
    return [match[1] for match in matches if match]


def test_quiet_leaves_the_result_alone(capsys):
    assert run(work, "", {}, ["--quiet"]) == 0
    assert capsys.readouterr() == ('{"figure": 1}\n', "")


def test_quiet_does_not_silence_errors(capsys):
    assert run(fail, "", {}, ["--quiet"]) == 2
    assert capsys.readouterr() == ("", "error: train.csv: no rows\n")


def test_all_is_said_by_default(capsys):
    assert run(work, "", {}, []) == 0
    assert capsys.readouterr().err == "a library prints\na library warns\nwhat is done\nin two lines\n"


def test_the_log_file_has_every_line_with_its_time_and_is_added_to(tmp_path, capsys):
    path = tmp_path / "a.log"
    assert run(work, "", {}, ["--quiet", "--log-file", str(path)]) == 0
    assert run(fail, "", {}, ["--log-file", str(path)]) == 2
    assert lines_of(path) == ["what is done", "in two lines", "error: train.csv: no rows"]
    say("afterwards")
    assert "afterwards" not in path.read_text()


def test_the_log_file_has_the_traceback_of_a_bug(tmp_path):
    path = tmp_path / "a.log"
    with pytest.raises(ZeroDivisionError):
        run(lambda _: {"figure": 1 // 0}, "", {}, ["--log-file", str(path)])
    assert lines_of(path)[0] == "Traceback (most recent call last):"


def test_a_log_file_that_cannot_be_written_is_a_sentence(tmp_path, capsys):
    assert run(work, "", {}, ["--log-file", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: --log-file: {tmp_path}: can't be written (Is a directory)\n"


def test_the_environment_sets_the_same(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv(QUIET.name, "true")
    monkeypatch.setenv(LOG_FILE.name, str(tmp_path / "a.log"))
    assert cache.main([]) == 0
    out, err = capsys.readouterr()
    assert (json.loads(out)["entries"] >= 0, err) == (True, "")
    monkeypatch.setenv(QUIET.name, "yes")
    assert cache.main([]) == 2
    assert "MMCLF_QUIET: found 'yes'" in capsys.readouterr().err


def test_the_first_line_comes_before_torch_and_mlflow(tmp_path):
    """Importing them takes seconds."""
    script = textwrap.dedent("""
        import sys
        from mmclf.runtime import console
        from mmclf.workflows import fit, forecast, infer, stage1, stage2, tune

        def say(text):
            heavy = {"torch", "mlflow", "pandas"} & set(sys.modules)
            print(text, "after", heavy)
            sys.exit(len(heavy))

        for module in (fit, forecast, infer, stage1, stage2, tune):
            module.say = say
        table, images = "no.csv", "no"
        calls = {
            "fit": lambda: fit.fit(table, images=images),
            "stage1": lambda: stage1.stage1(table, images=images),
            "stage2": lambda: stage2.stage2(table, images=images),
            "infer": lambda: infer.infer(table, images=images),
        }
        calls[sys.argv[1]]()
    """)
    for name in ("fit", "stage1", "stage2", "infer"):
        done = subprocess.run(
            [sys.executable, "-c", script, name], check=False, capture_output=True, text=True, cwd=PROJECT, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith(f"{name}: ")


def test_the_options_are_explained(capsys):
    with pytest.raises(SystemExit):
        stage1.main(["--help"])
    assert "--quiet" in (text := capsys.readouterr().out)
    assert "--log-file" in text
