"""MLflow's scoring server with a registered model in it, in this process: limits, and clients that misbehave.

.venv/bin/python -m pytest tests/records/test_guard.py
"""

import contextlib
import importlib
import json
import select
import socket
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import uvicorn
from mlflow.pyfunc import scoring_server

from mmclf.config import build_config
from mmclf.records import guard, serving
from mmclf.records.runs import quiet_mlflow
from mmclf.scoring.bundle import write_bundle
from mmclf.scoring.limits import Allowance
from mmclf.scoring.mixture import Mixture
from tests.checkpoints import save
from tests.stores import mlflow_store
from tests.threads import until

LIMITS = {"ROWS": 20, "CHARACTERS": 50, "BODY_MIB": 1, "REQUESTS": 3, "WAIT_SECONDS": 600, "SECONDS": 600}
ROW = {"title": "a red circle"}
TEXTS = ["a red circle", "a blue square", "", "a green star on white"]


class Served:
    """The server.

    Attributes:
        model: what it serves.
        address: host and port.
        turns: of the requests.
    """

    def __init__(self, model: mlflow.pyfunc.PyFuncModel, port: int) -> None:
        self.model, self.address = model, ("127.0.0.1", port)
        self.turns = serving._last["scorer"]._turns

    def ask(
        self, body: object, kind: str | None = "application/json", path: str = "invocations"
    ) -> tuple[int, str, Any]:
        """Status, body and headers of the answer. A body that is an iterator is sent in chunks of unknown number."""
        data = json.dumps(body).encode() if isinstance(body, dict) else body
        request = urllib.request.Request(f"http://127.0.0.1:{self.address[1]}/{path}", data)
        request.add_header("Content-Type", kind or "")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode(), error.headers

    def connect(self, body: bytes, sent: int | None = None) -> socket.socket:
        """A client that has sent a request, or the first bytes of one."""
        head = f"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        connection = socket.create_connection(self.address)
        connection.sendall(f"{head}\r\n\r\n".encode() + body[:sent])
        return connection

    def waiting(self) -> int:
        """Requests in line, the one whose turn it is included."""
        return len(self.turns._line)


@pytest.fixture(scope="module")
def served(tree, catalog, tmp_path_factory):
    """The application that uvicorn imports, with its model."""
    folder = tmp_path_factory.mktemp("guard")
    config = build_config(tree)
    write_bundle(folder / "bundle", Mixture.of([save(folder, config, catalog, 0, "stage1")[0]], config), {})
    with mlflow_store(folder), pytest.MonkeyPatch.context() as patch:
        with mlflow.start_run(), quiet_mlflow():
            uri = serving.log_model(folder / "bundle", {}).model_uri
        for name, value in LIMITS.items():
            patch.setenv(f"MMCLF_SERVE_{name}", str(value))
        patch.setenv(scoring_server._SERVER_MODEL_PATH, uri)
        patch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
        patch.setattr(scoring_server, guard.DECORATOR, getattr(scoring_server, guard.DECORATOR))
        app = importlib.import_module(serving.SERVER).app
        del sys.modules[serving.SERVER]
        with running(app) as port:
            yield Served(mlflow.pyfunc.load_model(uri), port)


@contextlib.contextmanager
def running(app) -> Iterator[int]:
    """The port at which uvicorn serves an application."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical"))
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


def test_the_weights_are_read_before_the_first_request(served):
    assert serving._last["scorer"]._models.are_kept


def test_an_answer_is_what_the_model_says(served):
    frame = pd.DataFrame({"title": TEXTS})
    status, answer, _ = served.ask({"dataframe_records": frame.to_dict("records")})
    assert status == 200, answer
    found, wanted = pd.DataFrame(json.loads(answer)["predictions"]), served.model.predict(frame)
    assert list(found["label"]) == list(wanted["label"])
    np.testing.assert_allclose(list(found["top_confidences"]), list(wanted["top_confidences"]), atol=1e-6)


def test_the_limits_are_the_servers_alone(served):
    assert len(served.model.predict(pd.DataFrame({"title": ["x" * 51] * 21}))) == 21


MIB = 2**20


@pytest.mark.parametrize(
    ("body", "kind", "status", "said"),
    [
        ({"dataframe_records": [ROW] * 21}, "application/json", 413, "21 rows are too many for a request (at most 20)"),
        ({"dataframe_records": [{"title": "x" * 51}]}, "application/json", 400, "row 1: title: 51 characters are too"),
        (b"x" * (MIB + 1), "application/json", 413, "the request is larger than 1 MiB; send fewer rows at a time"),
        ([b"x" * MIB, b"x"], "application/json", 413, "the request is larger than 1 MiB"),
        (b"x" * 2 * MIB, "application/json", 413, "the request is larger than 1 MiB"),
        (b'{"inputs": ' + b"[" * 5000 + b"]" * 5000 + b"}", "application/json", 400, "nested too deeply"),
        (b"9" * 5000, "application/json", 400, "the request is not valid JSON: Exceeds the limit"),
        (b"\xff", "application/json; charset=utf-8", 400, "the request is not valid JSON"),
        ({"dataframe_records": [ROW], "params": {"topk": 1}}, "application/json", 400,
         "params: topk: no such parameter; there are top_k, tta, batch_size, errors, precision"),
        ({"dataframe_records": [ROW], "params": {"top_k": None}}, "application/json", 400,
         "params: top_k: found null; leave it out for its default"),
        ({"dataframe_records": [ROW], "params": [1]}, "application/json", 400, "must be a dictionary"),
        ({"dataframe_records": {"title": 1}}, "application/json", 400, "must be a list of records"),
        ({"dataframe_split": {"columns": ["a", "a"], "data": [1]}}, "application/json", 400, ""),
        (b"[" * (MIB - 1), "application/json", 400, "nested too deeply"),
        (b"x", None, 415, "Content-Type: it is missing; it should be application/json or text/csv"),
        (b"x", "application/vnd.apache.parquet", 415, "Content-Type: found application/vnd.apache.parquet; it should"),
    ],
)  # fmt: skip
def test_a_request_that_is_refused_is_told_why(served, body, kind, status, said):
    found, answer, _ = served.ask(iter(body) if isinstance(body, list) else body, kind)
    assert found == status, answer
    assert said in answer
    assert "Traceback" not in answer


def test_a_request_without_a_type_is_told_so(served):
    with socket.create_connection(served.address) as connection:
        connection.sendall(b"POST /invocations HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
        answer = connection.recv(10_000).decode()
    assert answer.startswith("HTTP/1.1 415")


def test_a_server_that_is_busy_says_so_and_is_healthy(served):
    answers = []
    threads = [
        threading.Thread(target=lambda: answers.append(served.ask({"dataframe_records": [ROW]}))) for _ in range(3)
    ]
    with served.turns.taken(Allowance()):
        for thread in threads:
            thread.start()
        until(lambda: served.waiting() == 4)
        status, answer, headers = served.ask({"dataframe_records": [ROW]})
        assert (status, headers["Retry-After"]) == (503, "5")
        assert json.loads(answer)["message"] == "the model is busy with 3 requests; send it again in a moment"
        assert served.ask(None, path="health")[0] == 200
    for thread in threads:
        thread.join()
    assert [status for status, *_ in answers] == [200] * 3


def test_nobody_works_for_a_client_that_has_gone(served):
    body = json.dumps({"dataframe_records": [ROW]}).encode()
    with served.turns.taken(Allowance()):
        gone = [served.connect(body) for _ in range(3)]
        until(lambda: served.waiting() == 4)
        for connection in gone:
            connection.close()
        until(lambda: served.waiting() == 1)
    assert served.ask({"dataframe_records": [ROW]})[0] == 200


def test_nobody_works_on_after_mlflows_own_time_limit(served, monkeypatch):
    monkeypatch.setenv("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
    with running(scoring_server.init(served.model)) as port, served.turns.taken(Allowance()):
        status, answer, _ = Served(served.model, port).ask({"dataframe_records": [ROW]})
        assert (status, answer) == (504, "Request processing time exceeded limit")
        until(lambda: served.waiting() == 1)


def test_a_client_that_leaves_in_the_middle_of_its_request_does_no_harm(served):
    for _ in range(5):
        served.connect(b"x" * 1000, 500).close()
    assert served.ask({"dataframe_records": [ROW]})[0] == 200


def test_the_memory_of_large_requests_is_limited(served):
    """Eight of the largest may be held: the client that sends the next part is refused."""
    body = b" " * MIB
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(served.connect(body, MIB - 1000)) for _ in range(9)]
        refused, _, _ = select.select(slow, [], [], 60)
        assert [connection.recv(12) for connection in refused] == [b"HTTP/1.1 503"]
        assert served.ask({"dataframe_records": [ROW]})[0] == 200


def test_more_values_than_the_memory_is_for_are_refused(served, monkeypatch):
    """Each takes many times its bytes, once it is parsed."""
    monkeypatch.setattr(guard, "SEPARATED", 1000)
    rows = [{"title": "x", "description": "y"}]
    assert served.ask({"dataframe_records": rows})[0] == 200
    status, answer, _ = served.ask({"dataframe_records": rows * 500})
    assert status == 413
    assert "the request has more than 1,000 values; send fewer rows at a time" in answer


def test_an_mlflow_without_the_place_is_named(monkeypatch, capsys):
    monkeypatch.delattr(scoring_server, guard.DECORATOR)
    guard.install(None, ())
    assert "can't be guarded; see docs/serving.md" in capsys.readouterr().err
    assert not hasattr(scoring_server, guard.DECORATOR)
