"""A site that is served, asked as a browser does it."""

import base64
import contextlib
import json
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from mmclf.scoring.limits import Limits
from mmclf.scoring.requests import RowScorer
from mmclf.web.neighbours import Neighbours
from mmclf.web.serving import served
from mmclf.web.site import About, Site
from tests.threads import until


def product(texts=None, *contents: bytes, **more) -> dict:
    """What the page sends of one product."""
    pictures = [{"name": f"{n}.png", "content": base64.b64encode(c).decode()} for n, c in enumerate(contents)]
    return {"texts": texts or {}, "pictures": pictures, **more}


class Asked:
    """A served site."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self._stack = contextlib.ExitStack()
        self._stack.callback(site.close)
        self.url = self._stack.enter_context(served(site.application("127.0.0.1"), "127.0.0.1", 0)).url

    def close(self) -> None:
        self._stack.close()

    @property
    def port(self) -> int:
        return int(self.url.rstrip("/").rpartition(":")[2])

    def __call__(self, method: str, path: str, body=None, **headers) -> tuple[int, str, dict]:
        """Status, body and headers of an answer."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, answer.read().decode(), dict(answer.headers)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode(), dict(error.headers)

    def json(self, method: str, path: str, body=None):
        status, text, _ = self(method, path, body)
        assert status < 300, text
        return json.loads(text) if text else None

    def error(self, method: str, path: str, body=None) -> tuple[int, str]:
        status, text, _ = self(method, path, body)
        return status, json.loads(text)["error"]

    def send(self, files: dict[str, bytes]) -> str:
        """Where a new upload of these files is."""
        place = f"tables/{self.json('POST', 'tables')['table']}"
        for name, content in files.items():
            self.json("PUT", f"{place}/files?name={urllib.parse.quote(name)}", content)
        return place

    def label(self, files: dict[str, bytes], precision: float = 0) -> tuple[dict, str]:
        """Progress and place of an upload that was labelled."""
        place = self.send(files)
        self.json("POST", f"{place}/start", {"precision": precision})
        found = {}

        def is_over() -> bool:
            found.update(self.json("GET", place))
            return found["stage"] != "working"

        until(is_over)
        return found, place


def serve(scorer: RowScorer, folder: Path, limits: Limits, neighbours: Neighbours | None) -> Asked:
    """A site, served."""
    about = About("a <model>", [("Classes", "few")], "" if neighbours else "start it with --csv")
    return Asked(Site(scorer, about, neighbours, folder, limits))
