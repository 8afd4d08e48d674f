"""The page over HTTP: `page` answers each request of a browser on this machine.

Whoever opens the page asks it alone: nothing is loaded from elsewhere (a Content-Security-Policy holds the browser to
that), and a page of another site can't ask in its user's name, since its Origin and Host are looked at.
"""

import asyncio
import contextlib
import json
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ..errors import BusyError, DeadlineError, MmclfError, RowError, TooLargeError
from ..evaluation.probabilities import UNASSIGNED
from ..scoring.limits import MIB, Allowance, Limits
from ..scoring.requests import RowScorer
from .labelling import Labellings, Stage
from .neighbours import Neighbours
from .product import read_product
from .verdict import judge

# the first that fits; any other error of ours is 400, since it is about what was sent
STATUS = ((TooLargeError, 413), (BusyError, 503), (DeadlineError, 504))
STATIC = {"app.css": "text/css", "app.js": "text/javascript"}
LOCAL = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - looked for, not listened on
SAFE = ("GET", "HEAD")
BODIES = 8  # of the largest size that are in memory at a time
DRAINED = 256 * MIB  # are read of a request that was refused: a browser that is still sending doesn't listen
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

Endpoint = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class About:
    """What the page says of the model.

    Attributes:
        name: of the model.
        facts: name and value of each.
        why_no_neighbours: a sentence; "" where there are neighbours.
    """

    name: str
    facts: Sequence[tuple[str, str]]
    why_no_neighbours: str = ""


class Site:
    """The page of one model."""

    def __init__(
        self, scorer: RowScorer, about: About, neighbours: Neighbours | None, folder: Path, limits: Limits
    ) -> None:
        """
        Args:
            scorer: of the model.
            about: what is said of it.
            neighbours: of the training table, where one is given.
            folder: for uploads.
            limits: of a request.
        """
        self._scorer, self._neighbours, self._limits = scorer, neighbours, limits
        self._labellings = Labellings(folder, limits)
        self._asking = self._bytes = 0
        self._page = _render(scorer, about, limits)
        self._static = {name: files(__package__).joinpath("static", name).read_text("utf-8") for name in STATIC}

    def application(self, host: str) -> ASGIApp:
        """What a server runs that listens on this host."""
        routes = [
            Route("/", self._home),
            Route("/static/{name}", self._file),
            Route("/products", _plainly(self._judge), methods=["POST"]),
            Route("/tables", _plainly(self._new), methods=["POST"]),
            Route("/tables/{table}", _plainly(self._progress), methods=["GET"]),
            Route("/tables/{table}", _plainly(self._forget), methods=["DELETE"]),
            Route("/tables/{table}/files", _plainly(self._receive), methods=["PUT"]),
            Route("/tables/{table}/start", _plainly(self._start), methods=["POST"]),
            Route("/tables/{table}/labelled.csv", _plainly(self._result)),
        ]
        return _Door(Starlette(routes=routes), host)

    def close(self) -> None:
        """Forget all uploads; for when no request comes any more."""
        self._labellings.close()

    async def _home(self, request: Request) -> Response:
        return Response(self._page, media_type="text/html")

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in STATIC:
            return PlainTextResponse("not found", 404)
        return Response(self._static[name], media_type=STATIC[name])

    async def _judge(self, request: Request) -> Response:
        if self._asking >= self._limits.requests:
            raise BusyError(f"the model is busy with {self._asking} requests; try again in a moment")
        self._asking += 1
        allowance = Allowance(self._limits)
        try:
            async with self._json(request) as content:
                return JSONResponse(await _while_wanted(request, allowance, partial(self._answer, content, allowance)))
        finally:
            self._asking -= 1

    def _answer(self, content: Any, allowance: Allowance) -> dict[str, Any]:
        product = read_product(content, self._scorer.text_cols, self._limits)
        verdict = judge(self._scorer, product, _precision(content), allowance)
        near = None
        if self._neighbours is not None:
            rows = product.rows([(True, True)], has_titles=False)
            size = self._scorer.config.infer.batch_size
            features = self._scorer.features(rows, batch_size=size, allowance=allowance)
            near = [asdict(each) for each in self._neighbours.nearest(features)]
        return asdict(verdict) | {"neighbours": near}

    async def _new(self, request: Request) -> Response:
        return JSONResponse({"table": self._labellings.make().name}, 201)

    async def _receive(self, request: Request) -> Response:
        found = self._labellings.find(request.path_params["table"])
        if found.progress.stage is not Stage.RECEIVING:
            raise RowError("these files are being labelled already")
        with found.upload.receive(request.query_params.get("name", "")) as write:
            async for part in request.stream():
                write(part)
        return Response(status_code=204)

    async def _start(self, request: Request) -> Response:
        found = self._labellings.find(request.path_params["table"])
        async with self._json(request) as content:
            found.start(self._scorer, _precision(content))
        return JSONResponse(asdict(found.progress))

    async def _progress(self, request: Request) -> Response:
        return JSONResponse(asdict(self._labellings.find(request.path_params["table"]).progress))

    async def _result(self, request: Request) -> Response:
        found = self._labellings.find(request.path_params["table"])
        if found.progress.stage is not Stage.DONE:
            raise RowError("the table isn't labelled yet")
        return FileResponse(found.result, media_type="text/csv", filename="labelled.csv")

    async def _forget(self, request: Request) -> Response:
        found = self._labellings.take_out(request.path_params["table"])
        if found is not None:
            await asyncio.to_thread(found.stop)
        return Response(status_code=204)

    @contextlib.asynccontextmanager
    async def _json(self, request: Request) -> AsyncIterator[Any]:
        """What a request holds, of a bounded size alone and together with others."""
        body, most = bytearray(), self._limits.body_bytes
        try:
            async for part in request.stream():
                body += part
                self._bytes += len(part)
                if len(body) > most:
                    raise TooLargeError(f"the pictures together are larger than {most / MIB:g} MiB; send fewer")
                if self._bytes > BODIES * most:
                    raise BusyError("the app holds too many large requests; try again in a moment")
            try:
                content = json.loads(body)
            except (ValueError, RecursionError):
                raise RowError("the request is not valid JSON") from None
            yield content
        finally:
            self._bytes -= len(body)


class _Door:
    """Lets in what comes from this page, and adds HEADERS to each answer."""

    def __init__(self, inside: ASGIApp, host: str) -> None:
        self._inside = inside
        self._hosts = None if host in EVERYWHERE else {host, *LOCAL}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] += [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
            await send(message)

        if scope["type"] != "http":
            return
        refused = self._refuse(scope["method"], Headers(scope=scope))
        await (self._inside if refused is None else refused)(scope, receive, with_headers)

    def _refuse(self, method: str, headers: Headers) -> Response | None:
        host, origin = headers.get("host", ""), headers.get("origin")
        if self._hosts is not None and urlsplit(f"//{host}").hostname not in self._hosts:
            return PlainTextResponse("this app answers under the address that it printed alone", 400)
        if method not in SAFE and origin is not None and urlsplit(origin).netloc != host:
            return PlainTextResponse("this app answers its own page alone", 403)
        return None


def _plainly(endpoint: Endpoint) -> Endpoint:
    """An endpoint whose errors are sentences, as JSON."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except ClientDisconnect:
            return Response(status_code=400)  # which nobody reads
        except MmclfError as error:
            await _drain(request)
            status = next((status for kind, status in STATUS if isinstance(error, kind)), 400)
            return JSONResponse({"error": str(error)}, status)
        except Exception as error:  # a browser gets no traceback; the log has it
            traceback.print_exc(file=sys.stderr)
            return JSONResponse({"error": f"the app failed ({type(error).__name__}); its log says where"}, 500)

    return answer


def _precision(content: Any) -> float:
    found = content.get("precision", 0) if isinstance(content, dict) else 0
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise RowError(f"precision: found {found!r:.40}; it should be a number below 1")
    return float(found)


def _render(scorer: RowScorer, about: About, limits: Limits) -> str:
    environment = Environment(
        loader=PackageLoader(str(__package__)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        about=about,
        text_cols=scorer.text_cols,
        id_col=scorer.mixture.meta.id_col,
        thresholds=scorer.mixture.thresholds,
        reads_first_only=scorer.config.data.multi_image_mode != "mean_pool",
        limits=limits,
        mib=MIB,
        unassigned=UNASSIGNED,
    )


async def _while_wanted(request: Request, allowance: Allowance, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The result of some work in a thread, which is told to stop once the client has gone."""
    answer = asyncio.ensure_future(asyncio.to_thread(work))
    gone = asyncio.ensure_future(_disconnected(request))
    try:
        await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise ClientDisconnect
        return answer.result()
    finally:
        allowance.give_up()
        gone.cancel()
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())  # which nobody asks for


async def _drain(request: Request) -> None:
    size = 0
    with contextlib.suppress(ClientDisconnect, RuntimeError):  # gone, or read to its end already
        async for part in request.stream():
            size += len(part)
            if size > DRAINED:
                return


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
