"""What stands before the model in MLflow's scoring server, for requests of strangers (docs/adr/0025).

The server reads a body of any length, answers JSON that it can't parse with 500, drops parameters that the model
doesn't have, and works on for a client that has gone. It offers no place for a check of our own, so the model that it
loads wraps the decorator of its endpoint, before the endpoint is made.
"""

import asyncio
import functools
import json
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.pyfunc import scoring_server
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ..errors import BusyError, MmclfError, RowError, TooLargeError
from ..runtime.progress import say
from ..scoring.limits import CURRENT, MIB, Allowance, Limits
from .refusals import WrongKind, refusal

Endpoint = Callable[[Request], Awaitable[Response]]

DECORATOR = "_async_catch_mlflow_exception"  # of mlflow 3.17; a registered model pins its MLflow
BODIES = 8  # of the largest size that are in memory at a time
DRAINED = 4  # as many times the largest size are read of a request that is too large
KINDS = (scoring_server.CONTENT_TYPE_JSON, scoring_server.CONTENT_TYPE_CSV)  # a parquet of 1 MB can hold gigabytes
# more of these would make objects of many times the body's size
SEPARATORS, SEPARATED = (b",", b"[", b"{", b"\n"), 4_000_000
THREADS = 32  # where requests aren't limited
RETRY_SECONDS = 5
STACK = "stack_trace"  # MLflow puts one into some answers; it is for the log


class Guard:
    """The checks of one server."""

    def __init__(self, limits: Limits, params: Sequence[str]) -> None:
        """
        Args:
            limits: of a request.
            params: names of the model's parameters.
        """
        self._limits, self._params = limits, params
        self._requests = self._bytes = 0
        self._threads: ThreadPoolExecutor | None = None

    def around(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint `/invocations`, guarded."""

        @functools.wraps(endpoint)
        async def guarded(request: Request) -> Response:
            try:
                return await self._answer(endpoint, request)
            except ClientDisconnect:
                return Response(status_code=400)  # which nobody reads
            except MmclfError as error:
                return _response(refusal(error))
            except MlflowException as error:
                return _response(error)
            except Exception as error:  # of MLflow's parsing, since the model's are MlflowExceptions
                traceback.print_exc(file=sys.stderr)
                return _response(refusal(RowError(f"the request can't be read ({type(error).__name__})")))

        return guarded

    async def _answer(self, endpoint: Endpoint, request: Request) -> Response:
        body = bytearray()
        try:
            await self._read(request, body)
            return await self._work(endpoint, request, body)
        finally:
            self._bytes -= len(body)

    async def _read(self, request: Request, body: bytearray) -> None:
        most, size = self._limits.body_bytes, 0
        async for part in request.stream():
            size += len(part)
            if size > DRAINED * most:
                break
            if size <= most:  # the rest is read, not kept: a client that is still sending doesn't listen
                body += part
                self._bytes += len(part)
            if self._bytes > BODIES * most:
                raise BusyError("the server holds too many large requests; send it again in a moment")
        if size > most:
            raise TooLargeError(f"the request is larger than {most / MIB:g} MiB; send fewer rows at a time")

    async def _work(self, endpoint: Endpoint, request: Request, body: bytearray) -> Response:
        """The endpoint's answer, while the client waits for it."""
        if self._requests >= self._limits.requests:
            raise BusyError(f"the model is busy with {self._requests} requests; send it again in a moment")
        self._use_threads()
        allowance = Allowance(self._limits)
        CURRENT.set(allowance)
        self._requests += 1
        answer = asyncio.ensure_future(self._checked(endpoint, request, body))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait((answer, gone), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                raise ClientDisconnect
            return answer.result()
        finally:  # also where MLflow's own time limit cancels this
            allowance.give_up()
            answer.cancel()
            gone.cancel()
            self._requests -= 1

    async def _checked(self, endpoint: Endpoint, request: Request, body: bytearray) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip()
        if kind not in KINDS:
            said = f"found {kind:.60}" if kind else "it is missing"
            return _response(WrongKind(f"Content-Type: {said}; it should be {' or '.join(KINDS)}"))
        if sum(body.count(each) for each in SEPARATORS) > SEPARATED:
            raise TooLargeError(f"the request has more than {SEPARATED:,} values; send fewer rows at a time")
        if kind == KINDS[0]:
            await asyncio.to_thread(self._check_json, body)

        async def replay() -> dict[str, Any]:
            return {"type": "http.request", "body": body, "more_body": False}

        return await endpoint(Request(request.scope, replay))

    def _check_json(self, body: bytearray) -> None:
        try:
            content = json.loads(body)
        except RecursionError:
            raise RowError("the JSON is nested too deeply") from None
        except ValueError as error:
            raise RowError(f"the request is not valid JSON: {error}") from None
        params = content.get("params") if isinstance(content, dict) else None
        unknown = [name for name in params if name not in self._params] if isinstance(params, dict) else []
        if unknown:
            raise RowError(f"params: {unknown[0]:.60}: no such parameter; there are {', '.join(self._params)}")

    def _use_threads(self) -> None:
        """A thread for each request, since one that waits for a thread isn't counted anywhere; asyncio has few."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(int(min(self._limits.requests, THREADS)), "request")
            asyncio.get_running_loop().set_default_executor(self._threads)


def install(limits: Limits, params: Sequence[str]) -> None:
    """Guard the endpoint of the server that is loading its model in this process."""
    decorator = getattr(scoring_server, DECORATOR, None)
    if decorator is None:  # the limits that the model itself keeps to still hold
        say("this version of MLflow's server can't be guarded; see docs/serving.md")
        return
    guard = Guard(limits, params)
    setattr(scoring_server, DECORATOR, lambda endpoint: decorator(guard.around(endpoint)))


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _response(error: MlflowException) -> Response:
    status = error.get_http_status_code()  # type: ignore[no-untyped-call]
    error.json_kwargs.pop(STACK, None)
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == 503 else None
    content = error.serialize_as_json()  # type: ignore[no-untyped-call]
    return Response(content, status, headers, media_type="application/json")
