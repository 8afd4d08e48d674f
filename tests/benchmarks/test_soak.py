"""A served model among strangers, for some seconds.

.venv/bin/python -m pytest -m slow tests/benchmarks/test_soak.py
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_no_answer_is_wrong():
    """The memory isn't judged: it still grows in the first minute."""
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.2", "--clients", "6"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    assert (found["wrong"], found["examples"], found["tracebacks"]) == (0, [], 0)
    assert {"single: 200", "batch: 200", "wrong: 400", "given up: none"} <= set(found["requests"])
