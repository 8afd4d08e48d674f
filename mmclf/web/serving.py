"""A site on a port of this machine, served by a thread."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import uvicorn
from starlette.types import ASGIApp

from ..errors import ConfigError

POLL_SECONDS = 0.05
GRACE_SECONDS = 2  # that answers under way have at the end


@dataclass(frozen=True)
class Serving:
    """A server that listens.

    Attributes:
        url: of the page.
        ended: set when it doesn't listen any more.
    """

    url: str
    ended: threading.Event

    def wait(self) -> None:
        """Until it ends, which it doesn't by itself; Ctrl-C and SIGTERM get through."""
        while not self.ended.wait(1):
            pass


@contextlib.contextmanager
def served(application: ASGIApp, host: str, port: int) -> Iterator[Serving]:
    """Answer requests while the block runs.

    Args:
        application: that answers.
        host: the address to listen on.
        port: 0 for any that is free.

    Raises:
        ConfigError: it can't be listened on.
    """
    with _listen(host, port) as listener:
        config = uvicorn.Config(
            application,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_graceful_shutdown=GRACE_SECONDS,
        )
        server = uvicorn.Server(config)
        # a thread's own join forgets the thread where Ctrl-C comes meanwhile (Python 3.11)
        ended = threading.Event()

        def run() -> None:
            try:
                server.run(sockets=[listener])
            finally:
                ended.set()

        threading.Thread(target=run, name="app", daemon=True).start()
        while not server.started and not ended.wait(POLL_SECONDS):
            pass
        shown = f"[{host}]" if ":" in host else host
        try:
            yield Serving(f"http://{shown}:{listener.getsockname()[1]}/", ended)
        finally:
            server.should_exit = True
            ended.wait()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(f"--host: {host}: can't be listened on: {error.strerror}") from None
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen()
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"--port: {host}:{port}: can't be listened on: {error.strerror}; give another --port, or 0 for any"
        ) from None
    return listener
