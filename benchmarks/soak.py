"""A served model among strangers: many clients at once, some of them wrong or gone, for as long as is wanted.

    python -m benchmarks.soak --minutes 10 --clients 20

Registers a tiny CLIP with random weights and serves it by `mlflow models serve`. Each client sends, as its own random
numbers have it, single rows, batches, requests that are wrong, and requests that it gives up. Each answer is compared
with the model's own in this process. Fails where one differs by more than 1e-5, where a status is another than it
should be, and where the memory of the server's processes grew by more than 5 % after the first fifth of the time.
"""

import argparse
import base64
import contextlib
import http.client
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import psutil
from mlflow.tracking import MlflowClient

import mmclf
from benchmarks.memory import MIB, make_run
from demo.catalog import draw_catalog
from mmclf.config import DataConfig
from mmclf.data.catalog import read_catalog
from mmclf.records import runs

HOST = "127.0.0.1"
TOLERANCE, GROWTH = 1e-5, 0.05
BUSY, BACKOFF_SECONDS = 503, 2.0
BATCH, LARGE = 48, 200  # rows: of a batch at most, of a request that is given up
KINDS = {"single": 50, "batch": 20, "wrong": 20, "given up": 10}  # of a hundred requests

ROW = {"title": "a red circle"}
# a body, its type and the status that it is to be answered with
WRONG: list[tuple[bytes, str, int]] = [
    (json.dumps(body).encode() if not isinstance(body, bytes) else body, "application/json", status)
    for body, status in (
        (b"{", 400),
        (b"\xff", 400),
        (b"[]", 400),
        (b"9" * 5000, 400),
        (b'{"dataframe_records": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400),
        ({"dataframe_records": [{"Title": "x"}]}, 400),
        ({"dataframe_records": [ROW, {"title": 5}]}, 400),
        ({"dataframe_records": [{"title": [[["x"]]]}]}, 400),
        ({"dataframe_records": [{"image": "http://127.0.0.1/x.jpg"}]}, 400),
        ({"dataframe_records": [{"title": "x" * 200_000}]}, 400),
        ({"dataframe_records": [ROW], "params": {"top_k": None}}, 400),
        ({"dataframe_records": [ROW], "params": {"topk": 3}}, 400),
        ({"dataframe_records": [ROW], "params": {"precision": "much"}}, 400),
        ({"dataframe_records": [ROW] * 1001}, 413),
    )
] + [(b"title\nx\n", "text/plain", 415)]


class Soak:
    """The server, what is right, and what was seen.

    Attributes:
        counts: requests by kind and status.
        failures: a sentence for each answer that was wrong.
        seconds: of single rows and of `/health`, each.
        notes: (seconds since the start, MiB of the server's processes).
    """

    def __init__(self, address: tuple[str, int], records: list[dict[str, Any]], expected: list[dict[str, Any]]) -> None:
        """The rows and their answers."""
        self.address, self.records, self.expected = address, records, expected
        self.counts: Counter[tuple[str, str]] = Counter()
        self.failures: list[str] = []
        self.seconds: dict[str, list[float]] = {"single": [], "health": []}
        self.notes: list[tuple[float, float]] = []
        self._lock = threading.Lock()

    def client(self, numbers: random.Random, until: float) -> None:
        """Send requests one after another until then."""
        while time.monotonic() < until:
            kind = numbers.choices(list(KINDS), list(KINDS.values()))[0]
            try:
                status, failure = getattr(self, f"_{kind.replace(' ', '_')}")(numbers)
            except Exception as error:  # the server hung up, or answered what is no JSON
                status, failure = type(error).__name__, f"{kind}: {error!r}"
            with self._lock:
                self.counts[kind, str(status)] += 1
                if failure:
                    self.failures.append(failure)
            if status == BUSY:
                time.sleep(numbers.random() * BACKOFF_SECONDS)

    def watch(self, process: psutil.Process, until: float) -> None:
        """Note the memory, and how long `/health` takes, once a second."""
        start = time.monotonic()
        while time.monotonic() < until:
            began = time.monotonic()
            status = self._ask("GET", "/health")[0]
            self.seconds["health"].append(time.monotonic() - began)
            if status != 200:
                self.failures.append(f"/health: {status}")
            self.notes.append((time.monotonic() - start, memory(process) / MIB))
            time.sleep(1)

    def _single(self, numbers: random.Random) -> tuple[int, str]:
        began = time.monotonic()
        found = self._score([numbers.randrange(len(self.records))])
        self.seconds["single"].append(time.monotonic() - began)
        return found

    def _batch(self, numbers: random.Random) -> tuple[int, str]:
        return self._score(numbers.choices(range(len(self.records)), k=numbers.randint(2, BATCH)))

    def _wrong(self, numbers: random.Random) -> tuple[int, str]:
        body, kind, wanted = numbers.choice(WRONG)
        status, answer = self._ask("POST", "/invocations", body, kind)
        said = f"wrong: {body[:60]!r}: {status}: {answer[:200]!r}"
        return status, "" if status in (wanted, BUSY) and b"Traceback" not in answer else said

    def _given_up(self, numbers: random.Random) -> tuple[str, str]:
        """Send a large request, all of it or a part, and hang up at once or a little later."""
        rows = numbers.choices(self.records, k=LARGE)
        body = json.dumps({"dataframe_records": rows}).encode()
        sent = body if numbers.random() < 0.7 else body[: numbers.randrange(len(body))]
        head = f"POST /invocations HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
        with socket.create_connection(self.address, 60) as connection, contextlib.suppress(ConnectionError):
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + sent)
            time.sleep(numbers.random() * 0.5)
        return "none", ""

    def _score(self, chosen: list[int]) -> tuple[int, str]:
        body = {"dataframe_records": [self.records[row] for row in chosen]}
        status, answer = self._ask("POST", "/invocations", json.dumps(body).encode(), "application/json")
        if status == BUSY:
            return status, ""
        if status != 200:
            return status, f"{len(chosen)} rows: {status}: {answer[:200]!r}"
        found = json.loads(answer)["predictions"]
        wanted = [self.expected[row] for row in chosen]
        right = len(found) == len(wanted) and all(map(_same, found, wanted))
        return status, "" if right else f"rows {chosen}: {found} in place of {wanted}"

    def _ask(self, method: str, path: str, body: bytes = b"", kind: str = "") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(*self.address, timeout=120)
        try:
            connection.request(method, path, body or None, {"Content-Type": kind} if kind else {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


def memory(process: psutil.Process) -> int:
    """Resident bytes of a process and of those that it started."""
    found = 0
    for each in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            found += each.memory_info().rss
    return found


def make_model(folder: Path) -> str:
    """Register a tiny model in a store in `folder`; returns its URI."""
    draw_catalog(folder / "shop", rows_per_class=6, test_rows_per_class=1)
    runs.connect()
    mmclf.register(runs=[make_run(folder, stage="stage1", folds=3)])
    return "models:/mmclf@champion"


def read_rows(folder: Path) -> pd.DataFrame:
    """The drawn products as the model takes them."""
    shop = folder / "shop"
    catalog = read_catalog(shop / "train.csv", shop / "images", DataConfig(), training=True)
    pictures = [(catalog.image_root / names[0]).read_bytes() if names else None for names in catalog.rows.pictures]
    return pd.DataFrame({"title": catalog.rows.texts, "image": pictures})


@contextlib.contextmanager
def served(model: Path, log: Path) -> Iterator[tuple[tuple[str, int], psutil.Process]]:
    """Address and process of `mlflow models serve`."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        address = free.getsockname()
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with log.open("w") as file:
        process = subprocess.Popen(
            [*command, "--host", HOST, "--port", str(address[1])],
            env=environment,
            cwd=log.parent,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise SystemExit(f"the server ended:\n{log.read_text()[-2000:]}")
            with contextlib.suppress(OSError), socket.create_connection(address, 1):
                break
            time.sleep(0.2)
        yield address, psutil.Process(process.pid)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)


def soak(folder: Path, *, minutes: float, clients: int, seed: int) -> dict[str, Any]:
    """Serve and ask; returns what was seen."""
    uri = make_model(folder)
    frame = read_rows(folder)
    direct = mlflow.pyfunc.load_model(uri).predict(frame).to_dict("records")
    encoded = [None if each is None else base64.b64encode(each).decode() for each in frame["image"]]
    records = frame.assign(image=pd.Series(encoded, dtype=object)).to_dict("records")
    version = MlflowClient().get_model_version_by_alias("mmclf", "champion").version
    model = Path(MlflowClient().get_model_version_download_uri("mmclf", version))
    with served(model, folder / "server.log") as (address, process):
        work = Soak(address, records, direct)
        until = time.monotonic() + 60 * minutes
        threads = [threading.Thread(target=work.watch, args=(process, until))]
        for number in range(clients):
            numbers = random.Random(f"{seed} {number}")  # noqa: S311 - no secret
            threads.append(threading.Thread(target=work.client, args=(numbers, until)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        log = (folder / "server.log").read_text()
    return _report(work, log, minutes, clients)


def _report(work: Soak, log: str, minutes: float, clients: int) -> dict[str, Any]:
    last = work.notes[-1][0]
    first = statistics.median(mib for at, mib in work.notes if 0.2 * last <= at <= 0.3 * last)
    end = statistics.median(mib for at, mib in work.notes if at >= 0.9 * last)
    return {
        "minutes": minutes,
        "clients": clients,
        "requests": {f"{kind}: {status}": count for (kind, status), count in sorted(work.counts.items())},
        "seconds": {
            name: {f"p{share}": round(float(np.percentile(each, share)), 3) for share in (50, 99, 100)}
            for name, each in work.seconds.items()
        },
        "mib_after_a_fifth": round(first, 1),
        "mib_at_the_end": round(end, 1),
        "growth": round(end / first - 1, 4),
        "tracebacks": log.count("Traceback"),
        "wrong": len(work.failures),
        "examples": work.failures[:5],
    }


def _same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    difference = np.abs(np.subtract(found["top_confidences"], wanted["top_confidences"]))
    # two labels that are as sure as each other may change places
    return bool(difference.max() <= TOLERANCE) and (
        found["label"] == wanted["label"] or wanted["top_confidences"][0] - wanted["top_confidences"][1] <= TOLERANCE
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; prints one line of JSON."""
    parser = argparse.ArgumentParser(description="A served model among strangers.")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="mmclf-soak-") as name:
        os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{name}/mlflow.db"
        os.chdir(name)
        with contextlib.redirect_stdout(sys.stderr):
            found = soak(Path(name), minutes=options.minutes, clients=options.clients, seed=options.seed)
    print(json.dumps(found))
    return 1 if found["wrong"] or found["growth"] > GROWTH else 0


if __name__ == "__main__":
    sys.exit(main())
