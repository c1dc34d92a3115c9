"""Requests into answers: a WSGI function with a fixed table of routes, and the checks that stand before all of them.

    GET  / and the files of FILES   the page
    GET  /limits                    what it may ask for
    POST /pictures                  the bytes of a picture file -> {"picture": id, "width": ...}
    GET  /pictures/<id>             a small PNG of it
    POST /jobs                      {"picture": id, "size": "512x512" or "2x", "tile": ..., "seed": ...}
    GET  /jobs/<id>                 how it stands
    POST /jobs/<id>/cancel
    GET  /jobs/<id>/tiles/<k>       PNG of the k-th finished tile, in reading order
    GET  /jobs/<id>/result          the picture, with its recipe inside

Other web pages that the same browser shows are kept out three times: the Host must be ours (a name that was made to
point here is not), so must Origin and Sec-Fetch-Site, and bodies are of types that a foreign page cannot send unasked.
Every refusal is {"error": sentence}.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import Any

from texsyn import __version__
from texsyn.web.jobs import TILES, Job, Refused, Workshop

FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/style.css": ("style.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
HEADERS = (
    (
        "Content-Security-Policy",
        "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; object-src 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("Cache-Control", "no-store"),
)
MAX_JSON_BYTES = 2**14
MAX_SEED = 2**63

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Request:
    """What the routes see of a request."""

    method: str
    path: str
    media: str
    body: Callable[[], bytes]


@dataclass(frozen=True)
class Answer:
    """What goes back."""

    body: bytes
    media: str
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


def as_json(content: dict[str, Any], status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """An answer that a program reads."""
    return Answer(json.dumps(content).encode(), "application/json", status, headers)


@cache
def page(path: str) -> Answer:
    """One of FILES. Names come from that table, never from a request."""
    name, media = FILES[path]
    return Answer((files("texsyn.web") / "static" / name).read_bytes(), media)


def application(workshop: Workshop, port: int) -> Callable[..., Iterable[bytes]]:
    """The WSGI function for a server that listens on that port of 127.0.0.1."""
    hosts = {f"{name}:{port}" for name in ("127.0.0.1", "localhost")} | (
        {"127.0.0.1", "localhost"} if port == 80 else set()
    )

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        try:
            check_sender(environ, hosts)
            request = Request(
                environ["REQUEST_METHOD"],
                environ.get("PATH_INFO", ""),
                environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower(),
                environ["wsgi.input"].read,
            )
            answer = respond(workshop, request)
        except Refused as no:
            answer = as_json({"error": no.sentence}, no.status)
        except Exception as error:
            _log.error("%s: %s", type(error).__name__, str(error).partition("\n")[0])
            _log.debug("where", exc_info=error)
            answer = as_json({"error": "an error inside texsyn; the window where it was started says more"}, 500)
        status = HTTPStatus(answer.status)
        own = [("Content-Type", answer.media), ("Content-Length", str(len(answer.body)))]
        start_response(f"{status.value} {status.phrase}", [*own, *answer.headers, *HEADERS])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [answer.body]

    return app


def check_sender(environ: dict[str, Any], hosts: set[str]) -> None:
    """Refuse what another web page, or a name that was made to point here, has the browser send."""
    host = environ.get("HTTP_HOST", "").lower()
    if host not in hosts:
        raise Refused(403, f"this server answers to {' and '.join(sorted(hosts))} only")
    origin, site = environ.get("HTTP_ORIGIN"), environ.get("HTTP_SEC_FETCH_SITE", "none")
    reading = environ["REQUEST_METHOD"] in ("GET", "HEAD")
    if origin is not None and origin.lower() != f"http://{host}":
        raise Refused(403, "requests from other web pages are refused")
    if site not in ("same-origin", "none") and not (
        reading and environ.get("PATH_INFO") == "/"
    ):  # a link to us is fine
        raise Refused(403, "requests from other web pages are refused")


def respond(workshop: Workshop, request: Request) -> Answer:
    """The answer of the route that the path names, whole and letter by letter."""
    for pattern, method, route in ROUTES:
        if found := re.fullmatch(pattern, request.path, re.ASCII):
            if request.method != method and (request.method, method) != ("HEAD", "GET"):
                return as_json({"error": f"only {method} is possible here"}, 405, (("Allow", method),))
            return route(workshop, request, *found.groups())
    raise Refused(404, "there is nothing of this name")


# ---- the routes


def get_page(workshop: Workshop, request: Request) -> Answer:
    """A file of the page."""
    return page(request.path)


def get_limits(workshop: Workshop, request: Request) -> Answer:
    """What the page may ask for."""
    limits = workshop.limits
    return as_json(
        {
            "version": __version__,
            "upload_bytes": limits.upload_bytes,
            "pixels": limits.pixels,
            "seconds": limits.seconds,
        }
    )


def post_picture(workshop: Workshop, request: Request) -> Answer:
    """Take a picture file."""
    require_media(request, "application/octet-stream")
    return as_json(workshop.take(request.body()), 201)


def get_picture(workshop: Workshop, request: Request, name: str) -> Answer:
    """A small PNG of a picture handed in."""
    return Answer(workshop.preview(name), "image/png")


def post_job(workshop: Workshop, request: Request) -> Answer:
    """Begin to make a picture."""
    require_media(request, "application/json")
    return as_json(workshop.start(**order_of(request.body())), 202)


def get_job(workshop: Workshop, request: Request, name: str) -> Answer:
    """How a job stands."""
    return as_json(workshop.job(name).about())


def post_cancel(workshop: Workshop, request: Request, name: str) -> Answer:
    """Ask a job to stop; it will within the piece at hand."""
    job = workshop.job(name)
    job.stop.set()
    return as_json(job.about(), 202)


def get_tile(workshop: Workshop, request: Request, name: str, number: str) -> Answer:
    """A finished tile."""
    tiles = workshop.job(name).tiles
    if int(number) >= len(tiles):
        raise Refused(404, "this tile is not made yet")
    return Answer(tiles[int(number)], "image/png")


def get_result(workshop: Workshop, request: Request, name: str) -> Answer:
    """The picture; the page proposes a name for the file."""
    job: Job = workshop.job(name)
    if job.state == "working":
        raise Refused(409, "the picture is still being made")
    if job.refusal is not None:
        raise Refused(job.refusal.status, job.refusal.sentence)
    return Answer(job.result, job.media, headers=(("Content-Disposition", "attachment"),))


_ID = "([0-9a-f]{32})"
ROUTES: tuple[tuple[str, str, Callable[..., Answer]], ...] = (
    *((re.escape(path), "GET", get_page) for path in FILES),
    ("/limits", "GET", get_limits),
    ("/pictures", "POST", post_picture),
    (f"/pictures/{_ID}", "GET", get_picture),
    ("/jobs", "POST", post_job),
    (f"/jobs/{_ID}", "GET", get_job),
    (f"/jobs/{_ID}/cancel", "POST", post_cancel),
    (f"/jobs/{_ID}/tiles/([0-9]{{1,6}})", "GET", get_tile),
    (f"/jobs/{_ID}/result", "GET", get_result),
)


# ---- what comes in


def require_media(request: Request, media: str) -> None:
    """A foreign page may send forms and text unasked; not these types."""
    if request.media != media:
        raise Refused(415, f"the body should be of type {media}")


def order_of(body: bytes) -> dict[str, Any]:
    """The arguments of Workshop.start in a JSON body, each of its type; their values are judged there."""
    if len(body) > MAX_JSON_BYTES:
        raise Refused(413, f"the order is longer than the accepted {MAX_JSON_BYTES} bytes")
    try:
        order = json.loads(body)
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    fields = ("picture", "size", "tile", "seed")
    if not isinstance(order, dict) or set(order) != set(fields):
        raise Refused(422, f"the body should be an object with {', '.join(fields)} and nothing else")
    if not isinstance(order["picture"], str):
        raise Refused(422, "picture should be the text that stood in the answer to the upload")
    if not isinstance(order["size"], str) or len(order["size"]) > 40:
        raise Refused(422, 'size should be a short text such as "512x512" or "2x"')
    if order["tile"] not in list(TILES):  # a list: what comes in may be nothing that can be hashed
        raise Refused(422, f"tile should be one of {', '.join(TILES)}")
    seed = order["seed"]
    if seed is not None and (type(seed) is not int or not 0 <= seed < MAX_SEED):
        raise Refused(422, f"seed should be a whole number from 0 to {MAX_SEED - 1}, or null")
    return order
