"""What is said before a download, by the hub's real client and a server on this machine.

.venv/bin/python -m pytest tests/model/test_downloads.py
"""

import os
import subprocess
import sys
import textwrap
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
SIZE = 890_000_000


class Hub(BaseHTTPRequestHandler):
    """Has one repository with old-style weights only."""

    def do_HEAD(self) -> None:
        is_there = self.path == "/org/clip/resolve/main/open_clip_pytorch_model.bin"
        self.send_response(200 if is_there else 404)
        if is_there:
            self.send_header("ETag", '"1"')
            self.send_header("X-Repo-Commit", "0" * 40)
        else:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", str(SIZE if is_there else 0))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hub():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def announce(endpoint: str, folder: Path, repository: str = "org/clip") -> subprocess.CompletedProcess[str]:
    script = textwrap.dedent(f"""
        from mmclf.errors import WeightsUnavailableError
        from mmclf.model.downloads import HUB_WEIGHTS, HubFile, announce
        try:
            announce("ViT-L-14 openai", HubFile({repository!r}, HUB_WEIGHTS), "fetch it elsewhere")
        except WeightsUnavailableError as error:
            print(error)
    """)
    surroundings = dict(os.environ) | {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder), "HF_HUB_OFFLINE": "0"}
    return subprocess.run(
        [sys.executable, "-c", script], check=True, capture_output=True, text=True, cwd=PROJECT, env=surroundings
    )


def test_the_size_is_said_before_the_download(hub, tmp_path):
    done = announce(hub, tmp_path)
    assert (done.stdout, done.stderr) == ("", "downloading ViT-L-14 openai, 890 MB\n")


def test_what_the_hub_does_not_have_is_left_to_loading(hub, tmp_path):
    done = announce(hub, tmp_path, "org/other")
    assert (done.stdout, done.stderr) == ("", "")


def test_what_is_in_the_cache_is_not_asked_for(tmp_path):
    place = tmp_path / "hub" / "models--org--clip"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("1" * 40)
    (place / "snapshots" / ("1" * 40)).mkdir(parents=True)
    (place / "snapshots" / ("1" * 40) / "open_clip_model.safetensors").write_text("weights")
    done = announce("http://127.0.0.1:9", tmp_path)
    assert (done.stdout, done.stderr) == ("", "")


def test_without_an_answer_it_is_a_sentence_at_once(tmp_path):
    done = announce("http://127.0.0.1:9", tmp_path)  # where nobody listens
    assert done.stdout.startswith("model.pretrained: ViT-L-14 openai can't be downloaded from here; fetch it elsewhere")
    assert "ConnectError" in done.stdout
    assert "Retrying" not in done.stderr
