"""The page's server: waitress on 127.0.0.1, in a thread of its own."""

from __future__ import annotations

import logging
import select
import socket
import sys
import threading
from typing import Any

from texsyn.web.app import HEADERS, application, as_json
from texsyn.web.jobs import Limits, Workshop

HOST = "127.0.0.1"
#: what waitress says when it refuses a request itself, before the application sees it
_REFUSALS = {
    400: "the request is not HTTP as it should be",
    413: "the file is too large",
    431: "the request's headers are too long",
    501: "this way of sending a body is not known here",
}


def listen(port: int) -> socket.socket:
    """A socket on that port of 127.0.0.1, 0 for any free one. Raises OSError."""
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":  # there, two programs could share a port otherwise
            found.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:  # a port that was left a moment ago may be taken again
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((HOST, port))
        found.listen(128)
    except OSError:
        found.close()
        raise
    return found


class Server:
    """Serves from when it is made until close(). Raises ImportError without waitress, OSError for the port."""

    def __init__(self, port: int = 0, limits: Limits | None = None) -> None:
        from waitress import create_server

        self.workshop = Workshop(limits)
        bound = listen(port)
        self.port = bound.getsockname()[1]
        self.url = f"http://{HOST}:{self.port}/"
        self._sockets: dict[int, Any] = {}
        self._stopping = threading.Event()
        largest = self.workshop.limits.upload_bytes
        self._server: Any = create_server(
            application(self.workshop, self.port),
            map=self._sockets,
            sockets=[bound],
            threads=4,
            ident="",
            max_request_body_size=largest + 1,
            max_request_header_size=2**14,
            inbuf_overflow=largest + 2,  # nothing goes to temporary files
            outbuf_overflow=2**40,
            recv_bytes=2**16,
            channel_timeout=60,
            cleanup_interval=10,
            connection_limit=200,
            log_socket_errors=False,
            asyncore_use_poll=hasattr(select, "poll"),
        )
        self._server.channel_class = _channel_class()
        for name in ("waitress", "waitress.queue"):  # a busy moment is nobody's business
            logging.getLogger(name).setLevel(logging.ERROR)
        self._thread = threading.Thread(target=self._loop, name="texsyn-web", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        from waitress import wasyncore

        while not self._stopping.is_set():
            wasyncore.loop(timeout=1, use_poll=self._server.adj.asyncore_use_poll, map=self._sockets, count=1)
        self._server.task_dispatcher.shutdown(timeout=1)
        wasyncore.close_all(self._sockets)

    def wait(self) -> None:
        """Until it ends, which a signal may have it do."""
        while self._thread.is_alive():
            self._thread.join(0.5)  # not for ever: on Windows no signal comes through then

    def close(self) -> bool:
        """Stop serving and working; whether nothing works any more."""
        idle = self.workshop.close()
        self._stopping.set()
        self._server.pull_trigger()
        self._thread.join(3)
        return idle


def _channel_class() -> type:
    """waitress's connection, with its own refusals in the form of ours."""
    from waitress.channel import HTTPChannel
    from waitress.task import ErrorTask

    class Refusal(ErrorTask):
        def execute(self) -> None:
            error = self.request.error
            answer = as_json({"error": _REFUSALS.get(error.code, error.reason)}, error.code)
            self.status = f"{error.code} {error.reason}"
            self.response_headers.extend([("Content-Type", answer.media), *HEADERS])
            self.set_close_on_finish()
            self.content_length = len(answer.body)
            self.write(answer.body)

    class Channel(HTTPChannel):
        error_task_class = Refusal

    return Channel
