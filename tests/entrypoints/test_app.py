"""`app` as a process: it says where the page is, and ends in a second when it is asked to.

.venv/bin/python -m pytest tests/entrypoints/test_app.py
"""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from entrypoints import stage1
from tests.stages import call, kernel_project

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run_id(tmp_path_factory, shop, tree):
    with kernel_project(tmp_path_factory.mktemp("app"), shop, tree) as project:
        figures, _ = call(stage1, *project.train, "--config", str(project.folder / "kernel.yaml"), "--fold", "0")
        yield figures["run_id"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_it_serves_until_it_is_asked_to_end(run_id, number, code):
    command = [sys.executable, "-m", "entrypoints.app", "--model", run_id, "--port", "0"]
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True) as app:
        said = ""
        try:
            for line in app.stderr:
                said += line
                if found := re.search(r"^app: http://127\.0\.0\.1:(\d+)/ \(Ctrl-C ends it\)$", line):
                    break
            with socket.create_connection(("127.0.0.1", int(found[1]))):  # a browser keeps its connections open
                with urllib.request.urlopen(f"http://127.0.0.1:{found[1]}/", timeout=60) as page:
                    assert b"What is this product?" in page.read()
                app.send_signal(number)
                out, err = app.communicate(timeout=60)
        finally:
            app.kill()
    assert app.returncode == code, said + err
    assert out == ""
    assert "Traceback" not in said + err
    assert ("app: ended" in err) == (code == 0)
