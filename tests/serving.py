"""A registered model served over REST, and answers as matrices."""

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd


def matrix(predictions: pd.DataFrame, classes) -> np.ndarray:
    """Probabilities (rows, classes) from top_labels and top_confidences of all classes."""
    found = np.full((len(predictions), len(classes)), np.nan)
    for row, labels, confidences in zip(
        range(len(predictions)), predictions["top_labels"], predictions["top_confidences"], strict=True
    ):
        found[row, [classes.index(label) for label in labels]] = confidences
    return found


def as_json(frame: pd.DataFrame) -> list[dict]:
    """The rows of a frame with its pictures as base64, for dataframe_records."""

    def encode(cell: object) -> object:
        if isinstance(cell, list):
            return [encode(each) for each in cell]
        return None if cell is None else base64.b64encode(cell).decode()

    encoded = pd.Series([encode(cell) for cell in frame["image"]], frame.index, dtype=object)
    return frame.assign(image=encoded).to_dict("records")


def without_checkout() -> dict[str, str]:
    """An environment whose Python doesn't see the checkout, and MLflow not the store."""
    hidden = ("MLFLOW_", "PYTHONPATH", "MMCLF_")
    return {k: v for k, v in os.environ.items() if not k.startswith(hidden)} | {
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
        # the editable install would put the checkout on the path
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }


class Server:
    """`mlflow models serve` of the champion."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder), "--env-manager", "local"]
        self.process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            env=without_checkout(),
            cwd=folder.parent,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        for _ in range(600):
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.url}/ping", timeout=5):
                return
            assert self.process.poll() is None
            time.sleep(0.2)
        raise AssertionError("the server didn't start")

    def post(self, body: object, kind: str = "application/json") -> tuple[int, str]:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/invocations", data, {"Content-Type": kind})
        try:
            with urllib.request.urlopen(request, timeout=120) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait(30)
