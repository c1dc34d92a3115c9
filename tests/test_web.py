"""The page of `texsyn web`: the same picture as synth gives, and nothing for anybody whom it does not concern."""

from __future__ import annotations

import http.client
import importlib.util
import io
import json
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import tomllib
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import texsyn
from texsyn.images import Picture, Size, load, read_recipe, save

pytest.importorskip("waitress", reason="needs waitress: pip install 'texsyn[web]'")

import texsyn.cli.web
from texsyn.cli import main
from texsyn.web.app import FILES, HEADERS, ROUTES
from texsyn.web.jobs import KEPT, Job, Limits, Shelf
from texsyn.web.making import TILE, tiles_of
from texsyn.web.preview import Preview
from texsyn.web.server import Server

ROOT = Path(texsyn.__file__).parent.parent
LIMITS = Limits(upload_bytes=2**20, pixels=2**21, seconds=120)
NOBODY = "0" * 32  # an id of the right form that nothing has
BYTES, JSON = "application/octet-stream", "application/json"


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The sentence of a refusal, which has to be the whole of it."""
        assert self.headers["Content-Type"] == "application/json"
        assert list(self.json) == ["error"]
        sentence: str = self.json["error"]
        assert "Traceback" not in sentence
        assert len(sentence) > 10
        return sentence


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    running = Server(0, LIMITS)
    yield running
    assert running.close(), "a job was still at work"


def ask(server: Server, method: str, path: str, body: Any = None, media: str = "", **headers: str) -> Reply:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    given = ({"Content-Type": media} if media else {}) | {k.replace("_", "-"): v for k, v in headers.items()}
    try:
        connection.request(method, path, body, given)
        answer = connection.getresponse()
        return Reply(answer.status, dict(answer.getheaders()), answer.read())
    finally:
        connection.close()


def raw(server: Server, request: bytes) -> bytes:
    """What comes back for bytes as they are, until the server ends it or says no more."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as s:
        try:
            s.sendall(request)
            s.shutdown(socket.SHUT_WR)
        except OSError:  # it has heard enough
            pass
        answer = b""
        try:
            while chunk := s.recv(2**16):
                answer += chunk
        except ConnectionResetError:
            pass
        return answer


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def upload(server: Server, data: bytes) -> str:
    reply = ask(server, "POST", "/pictures", data, BYTES)
    assert reply.status == 201, reply.body
    name: str = reply.json["picture"]
    return name


def order(server: Server, picture: str, size: str = "32x32", tile: str = "none", seed: Any = 1) -> Reply:
    wish = {"picture": picture, "size": size, "tile": tile, "seed": seed}
    return ask(server, "POST", "/jobs", json.dumps(wish), JSON)


def outcome(server: Server, job: str) -> Any:
    """How the job stands when it stands still."""
    for _ in range(2400):
        found = ask(server, "GET", f"/jobs/{job}").json
        if found["state"] != "working":
            return found
        time.sleep(0.05)
    raise AssertionError(f"still at work: {found}")


def file_of(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    save(picture, buffer, format="tiff" if picture.pixels.dtype.kind == "f" else "png")
    return buffer.getvalue()


def grass(side: int = 256) -> Picture:
    # of small ones, the finest level would be transported, which takes longer
    return load(f"skimage:grass:{side}")


def coloured() -> Picture:
    grey = grass().pixels.astype(np.uint16)
    return load(np.concatenate([grey * 257, grey * 100 + 7, 65535 - grey * 200, grey * 256 + 255], 2))


EXEMPLARS: dict[str, Callable[[], Picture]] = {
    "grey": grass,
    "16 bit with alpha": coloured,
    "floats": lambda: load(grass().pixels.astype(np.float32) / 50 - 1),
}


# ------------------------------------------------------------------------------------------------ making a picture


@pytest.mark.parametrize(("kind", "tile"), [("grey", "xy"), ("16 bit with alpha", "none"), ("floats", "x")])
def test_the_download_is_what_synth_makes_and_the_tiles_are_its_parts(server: Server, kind: str, tile: str) -> None:
    exemplar = EXEMPLARS[kind]()
    data, size, seed = file_of(exemplar), Size(270, 300), 2**40 + 7
    started = order(server, upload(server, data), str(size), tile, seed)
    assert started.status == 202
    assert started.json["seed"] == seed
    assert started.json["tiles"] == 4
    job = started.json["job"]
    ended = outcome(server, job)
    assert (ended["state"], ended["fraction"], ended["tiles"], ended["error"]) == ("done", 1.0, 4, None)

    reply = ask(server, "GET", f"/jobs/{job}/result")
    wanted = texsyn.synth(data, size, seed=seed, tile=tile)
    made = load(reply.body)
    assert np.array_equal(made.pixels, wanted.pixels)
    assert made.pixels.dtype == exemplar.pixels.dtype
    recipe = read_recipe(reply.body)
    assert recipe is not None
    assert recipe | {"seconds": 0} == json.loads(json.dumps(wanted.recipe)) | {"seconds": 0}
    assert recipe["pixels_sha256"] == wanted.image.sha256
    assert reply.headers["Content-Type"] == ("image/tiff" if kind == "floats" else "image/png") == ended["media"]

    preview = Preview(exemplar)
    for k, region in enumerate(tiles_of(size)):
        shown = ask(server, "GET", f"/jobs/{job}/tiles/{k}")
        assert shown.headers["Content-Type"] == "image/png"
        part = wanted.pixels[region.top : region.bottom, region.left : region.right]
        assert shown.body == preview.png(part)
    assert ask(server, "GET", f"/jobs/{job}/tiles/{4}").status == 404


def test_tiles_cover_the_picture_once_in_reading_order() -> None:
    for size in (Size(1, 1), Size(TILE, TILE), Size(TILE + 1, 3 * TILE - 1)):
        count = np.zeros((size.height, size.width), int)
        corners = []
        for region in tiles_of(size):
            count[region.top : region.bottom, region.left : region.right] += 1
            corners.append((region.top, region.left))
        assert (count == 1).all()
        assert corners == sorted(corners)


def test_a_palette_stays_one(server: Server) -> None:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(grass().pixels[..., 0]).convert("P").save(buffer, "PNG")
    job = order(server, upload(server, buffer.getvalue()), "1x").json["job"]
    assert outcome(server, job)["state"] == "done"
    with Image.open(io.BytesIO(ask(server, "GET", f"/jobs/{job}/result").body)) as made:
        assert (made.mode, made.size) == ("P", (256, 256))


def test_previews_have_eight_bits_and_three_channels_at_most() -> None:
    deep = coloured()
    assert np.array_equal(load(Preview(deep).png(deep.pixels)).pixels, deep.pixels >> 8)
    floats = EXEMPLARS["floats"]()
    shown = load(Preview(floats).png(floats.pixels)).pixels
    assert (shown.min(), shown.max(), shown.dtype) == (0, 255, np.uint8)
    many = load(np.repeat(grass().pixels, 5, axis=2))
    assert load(Preview(many).png(many.pixels)).mode == "RGB"
    assert load(Preview(grass()).small(20)).size == Size(20, 20)


def test_the_picture_handed_in_is_described_and_shown(server: Server) -> None:
    reply = ask(server, "POST", "/pictures", file_of(coloured()), BYTES)
    about = {k: v for k, v in reply.json.items() if k != "picture"}
    assert about == {"width": 256, "height": 256, "kind": "colour with alpha, 16 bit", "notes": []}
    shown = ask(server, "GET", f"/pictures/{reply.json['picture']}")
    assert load(shown.body).size == Size(256, 256)


def test_a_seed_is_drawn_where_none_is_given(server: Server) -> None:
    picture = upload(server, file_of(grass(32)))
    seeds = []
    for _ in range(2):
        started = order(server, picture, "16x16", seed=None).json
        outcome(server, started["job"])
        seeds.append(read_recipe(ask(server, "GET", f"/jobs/{started['job']}/result").body)["seed"])
        assert seeds[-1] == started["seed"]
    assert seeds[0] != seeds[1]


def test_one_at_a_time_and_cancel(server: Server) -> None:
    picture = upload(server, file_of(grass(256)))
    job = order(server, picture, "1440x1440").json["job"]
    second = order(server, picture)
    assert second.status == 409
    assert "one at a time" in second.error
    assert ask(server, "GET", f"/jobs/{job}/result").status == 409
    assert ask(server, "POST", f"/jobs/{job}/cancel").status == 202
    ended = outcome(server, job)
    assert ended["state"] == "cancelled"
    gone = ask(server, "GET", f"/jobs/{job}/result")
    assert (gone.status, gone.error) == (410, "the picture was cancelled before it was finished")
    third = order(server, picture)
    assert third.status == 202, "a cancelled job stands in nobody's way"
    assert outcome(server, third.json["job"])["state"] == "done"


def test_what_takes_too_long_is_stopped_with_a_sentence() -> None:
    server = Server(0, Limits(seconds=0.01))
    job = order(server, upload(server, file_of(grass())), "512x512").json["job"]
    ended = outcome(server, job)
    assert ended["state"] == "failed"
    assert ended["error"] == "it took longer than the allowed 0.01 seconds; choose a smaller size"
    assert ask(server, "GET", f"/jobs/{job}/result").status == 503
    assert server.close()


def test_a_job_that_nobody_asks_about_is_stopped() -> None:
    job = Job(grass(), Size(8, 8), 0, "none", seconds=60)
    assert not job.is_set()
    job.heard -= 1e6
    assert job.is_set()
    job.about()
    assert not job.is_set()


def test_pictures_that_cannot_be_used_say_why(server: Server) -> None:
    tiny = ask(server, "POST", "/pictures", file_of(load(np.zeros((5, 5), np.uint8))), BYTES)
    job = order(server, tiny.json["picture"]).json["job"]
    ended = outcome(server, job)
    assert ended["state"] == "failed"
    assert "8x8" in ended["error"]
    assert ask(server, "GET", f"/jobs/{job}/result").status == 422


def test_little_memory_is_said_before_the_work(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = upload(server, file_of(grass()))
    monkeypatch.setattr("texsyn.synthesis.free_memory", lambda: 1000)
    reply = order(server, picture)
    assert reply.status == 503
    assert "GiB" in reply.error


def test_an_error_of_ours_is_one_sentence(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError("secret")

    picture = upload(server, file_of(grass()))
    with monkeypatch.context() as patch:
        patch.setattr("texsyn.web.making.draw", broken)
        ended = outcome(server, order(server, picture).json["job"])
        assert ended["state"] == "failed"
        assert "secret" not in ended["error"]
        assert "ZeroDivisionError" in ended["error"]
    monkeypatch.setattr("texsyn.web.jobs.Workshop.job", broken)
    reply = ask(server, "GET", f"/jobs/{NOBODY}")
    assert reply.status == 500
    assert "secret" not in reply.error


# ------------------------------------------------------------------------------------------------- what is refused

SECRET = b"this file is nobody's business"


def payloads() -> list[str]:
    """Names of files outside, as people have tried to get at them."""
    up, passwd = "..", "/".join(["etc", "passwd"])
    wins = "\\".join(["C:", "Windows", "win.ini"])
    plain = [f"{up}/" * n + passwd for n in (1, 4, 12)]
    return [
        *plain,
        *(p.replace("..", "%2e%2e") for p in plain),
        *(p.replace("/", "%2f") for p in plain),
        *(p.replace("/", "%5c").replace("..", "%2E%2E") for p in plain),
        *(p.replace("/", "\\") for p in plain),
        *(p.replace("..", "%252e%252e") for p in plain),
        *(p.replace("/", "%c0%af") for p in plain),
        *(p.replace("..", "....//") for p in plain),
        *(p.replace("..", "..;") for p in plain),
        f"/{passwd}", f"//{passwd}", f"file:///{passwd}", f"%2f{passwd}", "~root", "~/.ssh", wins,
        wins.replace(":", "%3a"),
        "\\\\host\\share", "%5c%5chost%5cshare", "app.py", "%00", f"{passwd}%00.png", f"{NOBODY}%00", f"{NOBODY}%0a",
        f"{NOBODY}/", f"{NOBODY}.png", f"{NOBODY}::$DATA", "CON", "nul.png", "A" * 32, "G" * 32, "0" * 31, "0" * 33,
        "0" * 4000, "%ff%fe", "%", "%zz", "{id}", "*", "..%2fapp.py", "static/page.js", "http:%2f%2fexample.org",
        "０" * 32,
    ]  # fmt: skip


def routes() -> list[tuple[str, str]]:
    """(method, path) of every route, with an id that nothing has."""
    found = []
    for pattern, method, _ in ROUTES:
        path = pattern.replace("([0-9a-f]{32})", NOBODY).replace("([0-9]{1,6})", "0").replace("\\", "")
        found.append((method, path))
    return found


def test_the_routes_are_those_that_are_written_down(server: Server) -> None:
    import texsyn.web.app

    assert {(m, p) for m, p in routes() if NOBODY in p} == {
        ("GET", f"/pictures/{NOBODY}"),
        ("GET", f"/jobs/{NOBODY}"),
        ("POST", f"/jobs/{NOBODY}/cancel"),
        ("GET", f"/jobs/{NOBODY}/tiles/{0}"),
        ("GET", f"/jobs/{NOBODY}/result"),
    }
    for method, path in routes():
        written = path.replace(NOBODY, "<id>").replace("tiles/0", "tiles/<k>")
        assert path in FILES or re.search(rf"{method}\s+{written}(\s|$)", texsyn.web.app.__doc__ or ""), path
        if NOBODY in path:
            assert ask(server, method, path).status == 404


def test_no_name_leads_outside(server: Server) -> None:
    prefixes = ["/", "/pictures/", "/jobs/", f"/jobs/{NOBODY}/", f"/jobs/{NOBODY}/tiles/", "/static/"]
    n_tried = 0
    connection = b"\r\nHost: 127.0.0.1:%d\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % server.port
    for prefix in prefixes:
        for payload in payloads():
            for method in ("GET", "POST") if prefix == "/jobs/" else ("GET",):
                answer = raw(server, f"{method} {prefix}{payload} HTTP/1.1".encode() + connection)
                assert 400 <= status_of(answer) < 500, (prefix, payload, answer[:200])
                assert b"root:" not in answer
                body = json.loads(answer.partition(b"\r\n\r\n")[2])
                assert list(body) == ["error"], payload
                n_tried += 1
    assert n_tried > 300


def test_names_count_letter_by_letter(server: Server) -> None:
    picture = upload(server, file_of(grass(32)))
    job = order(server, picture).json["job"]
    outcome(server, job)
    for path in (f"/pictures/{picture}", f"/jobs/{job}", f"/jobs/{job}/result", f"/jobs/{job}/tiles/{0}"):
        assert ask(server, "GET", path).status == 200
        for wrong in (f"{path}%0a", f"{path}%00", f"{path}/", f"{path}.png", f"{path}%20", f"{path};x", f"/..{path}"):
            assert ask(server, "GET", wrong).status == 404, wrong
    assert ask(server, "GET", f"/jobs/{job.upper()}").status == (404 if job.upper() != job else 200)
    for number in ("-1", "1", "999999", "9999999", "0x0", "+0", "٠", "1e0"):
        quoted = "".join(f"%{b:02x}" for b in number.encode())
        assert ask(server, "GET", f"/jobs/{job}/tiles/{quoted}").status == 404, number


def test_only_one_method_a_route(server: Server) -> None:
    for method, path in routes():
        for other in ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HACK"):
            if other != method:
                reply = ask(server, other, path)
                assert (reply.status, reply.headers["Allow"]) == (405, method), (other, path)
                assert method in reply.error
    head = ask(server, "HEAD", "/")
    assert (head.status, head.body) == (200, b"")


def test_bodies_of_other_types_are_refused(server: Server) -> None:
    png = file_of(grass(16))
    for media in (
        "",
        "text/plain",
        "image/png",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
    ):
        for path in ("/pictures", "/jobs"):
            reply = ask(server, "POST", path, png, media)
            assert reply.status == 415, (path, media)
            assert "should be of type" in reply.error


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("", 400), ("{", 400), ("\xff\xfe", 400), ("[" * 9000, 400), ("1" * 9000, 400), ("null", 422), ("[]", 422),
        ('"x"', 422), ("{}", 422), ('{"picture": 1}', 422), ("{" + " " * 20000 + "}", 413),
    ],
)  # fmt: skip
def test_what_is_no_order_is_refused(server: Server, body: str, status: int) -> None:
    reply = ask(server, "POST", "/jobs", body.encode("latin-1"), JSON)
    assert reply.status == status
    assert reply.error


@pytest.mark.parametrize(
    ("field", "values", "status"),
    [
        ("picture", [None, 1, [], {}, True], 422),
        ("picture", [NOBODY, "", "../x", "0" * 5000, "x\0y"], 404),
        (
            "size",
            [None, 5, [5, 5], "", "x", "0x0", "-4x4", "12", "1e3x5", "9999999x9999999", "5x5;", "0x", "9" * 41],
            422,
        ),
        ("size", ["100000x100000", "1000x", "3000x3000"], 422),
        ("tile", [None, 1, "", "XY", "yx", ["x"], {"x": 1}], 422),
        ("seed", [-1, 1.0, 1.5, "1", True, [], 2**63, 10**400], 422),
    ],
)
def test_fields_of_wrong_kinds_and_values_are_refused(
    server: Server, field: str, values: list[Any], status: int
) -> None:
    wish = {"picture": upload(server, file_of(grass(32))), "size": "8x8", "tile": "none", "seed": 1}
    for value in values:
        reply = ask(server, "POST", "/jobs", json.dumps(wish | {field: value}), JSON)
        assert reply.status == status, (value, reply.body)
        assert reply.error
    nan = json.dumps(wish | {"seed": float("nan")})
    assert ask(server, "POST", "/jobs", nan, JSON).status == 422
    assert ask(server, "POST", "/jobs", json.dumps(wish | {"path": "x"}), JSON).status == 422


def test_what_is_no_picture_is_refused(server: Server) -> None:
    def png(width: int, height: int) -> bytes:
        head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
        chunk = struct.pack(">I", 13) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
        return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 9) + b"IDAT" + zlib.compress(b"\0" * 9)

    good = file_of(grass(32))
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///x"/></svg>'
    hostile = [b"", b"x", good[:50], good[:-40], svg, b"%PDF-1.7", b"%!PS-Adobe", b"PK\x03\x04", b"GIF89a", b"\0" * 999]
    hostile += [png(100_000, 100_000), png(2**31 - 1, 1), png(0, 7), png(1449, 1449)]
    for data in hostile:
        reply = ask(server, "POST", "/pictures", data, BYTES)
        assert reply.status == 422, data[:30]
        assert reply.error
    assert "100000x100000" in ask(server, "POST", "/pictures", png(100_000, 100_000), BYTES).error
    large = file_of(load(np.zeros((1449, 1449), np.uint8)))  # a file of some kilobytes, whole and well
    assert "more than the accepted 2097152 pixels" in ask(server, "POST", "/pictures", large, BYTES).error


def test_bodies_that_are_too_large_are_refused(server: Server) -> None:
    start = b"POST /pictures HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/octet-stream\r\n" % server.port
    most = LIMITS.upload_bytes
    for length in (most + 1, most + 2, 10**18):
        answer = raw(server, start + b"Content-Length: %d\r\n\r\nabc" % length)
        assert status_of(answer) == 413
        assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"error": "the file is too large"}
    chunk = b"%x\r\n" % 2**16 + b"\0" * 2**16 + b"\r\n"
    answer = raw(server, start + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 20)
    assert answer == b"" or status_of(answer) == 413  # it may hang up while we still talk
    at_most = ask(server, "POST", "/pictures", b"\0" * most, BYTES)
    assert at_most.status == 422, "as large as accepted, only no picture"


def test_bodies_that_are_not_as_announced_are_no_harm(server: Server) -> None:
    start = b"POST /pictures HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/octet-stream\r\n" % server.port
    data = file_of(grass(32))
    shorter = raw(server, start + b"Content-Length: 10\r\n\r\n" + data)
    assert status_of(shorter) == 422  # the ten bytes are no picture; what follows is no request
    longer = raw(server, start + b"Content-Length: 99999\r\n\r\n" + data)
    assert longer == b"" or status_of(longer) >= 400
    for wrong in (b"-1", b"x", b"1e3", b"0x10", b"+5", b"1, 2"):
        assert status_of(raw(server, start + b"Content-Length: " + wrong + b"\r\n\r\n" + data)) == 400, wrong
    for wrong in (b"gzip", b"identity", b"chunked, gzip"):
        assert status_of(raw(server, start + b"Transfer-Encoding: " + wrong + b"\r\n\r\n" + data)) in (400, 501), wrong
    assert status_of(raw(server, start + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + data)) == 400
    assert status_of(raw(server, b"GET / HTTP/1.1\r\nX: " + b"y" * 20000 + b"\r\n\r\n")) == 431
    assert status_of(raw(server, b"\x16\x03\x01 not http at all\r\n\r\n")) == 400
    assert ask(server, "GET", "/limits").status == 200


@pytest.mark.parametrize(
    "host", ["example.org", "example.org:{port}", "127.0.0.1", "127.0.0.1:1", "127.0.0.1:{port}.example.org",
             "localhost.example.org:{port}", "[::1]:{port}", "0.0.0.0:{port}", "127.1:{port}", "localhost:{port}, x",
             ""],
)  # fmt: skip
def test_other_host_names_are_refused(server: Server, host: str) -> None:
    named = host.format(port=server.port)
    for method, path in (("GET", "/"), ("GET", "/limits"), ("POST", "/pictures"), ("GET", f"/jobs/{NOBODY}")):
        reply = ask(server, method, path, Host=named)
        assert reply.status == 403
        assert "127.0.0.1" in reply.error
    answer = raw(server, b"GET / HTTP/1.0\r\n\r\n")
    assert status_of(answer) == 403


def test_our_own_host_names_are_fine(server: Server) -> None:
    for name in ("127.0.0.1", "localhost", "LocalHost"):
        assert ask(server, "GET", "/", Host=f"{name}:{server.port}").status == 200


def test_other_pages_are_refused(server: Server) -> None:
    own = f"http://127.0.0.1:{server.port}"
    picture = file_of(grass(32))
    origins = ["null", "https://example.org", own.replace("http", "https"), "http://127.0.0.1", f"{own}0"]
    origins += [f"http://localhost:{server.port}", f"{own}, {own}", ""]  # another name is another page
    for origin in origins:
        reply = ask(server, "POST", "/pictures", picture, BYTES, Origin=origin)
        assert (reply.status, reply.error) == (403, "requests from other web pages are refused"), origin
        assert ask(server, "GET", "/limits", Origin=origin).status == 403
    for site in ("cross-site", "same-site", "weird"):
        assert ask(server, "POST", "/pictures", picture, BYTES, Sec_Fetch_Site=site).status == 403
        assert ask(server, "GET", "/page.js", Sec_Fetch_Site=site).status == 403
    assert ask(server, "GET", "/", Sec_Fetch_Site="cross-site").status == 200, "a link to the page is fine"
    assert ask(server, "POST", "/", Sec_Fetch_Site="cross-site").status == 403
    same = ask(server, "POST", "/pictures", picture, BYTES, Origin=own, Sec_Fetch_Site="same-origin")
    assert same.status == 201


def test_every_answer_has_the_headers_and_none_opens_the_door(server: Server) -> None:
    answers = [ask(server, method, path) for method, path in routes()]
    answers += [ask(server, "GET", "/nothing"), ask(server, "OPTIONS", "/jobs", Origin="null")]
    answers += [ask(server, "GET", "/", Host="example.org"), ask(server, "GET", "/", X="y" * 20000)]
    for reply in answers:
        assert dict(HEADERS).items() <= reply.headers.items()
        assert not [name for name in reply.headers if name.lower().startswith("access-control")]
        assert "Server" not in reply.headers
    assert "default-src 'self'" in dict(HEADERS)["Content-Security-Policy"]


def test_a_client_that_says_nothing_is_in_nobodys_way(server: Server) -> None:
    silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(40)]
    for k, s in enumerate(silent):
        if k % 2:
            s.sendall(b"POST /pictures HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 999\r\n\r\n" % server.port)
    assert ask(server, "GET", "/").status == 200
    job = order(server, upload(server, file_of(grass(32)))).json["job"]
    assert outcome(server, job)["state"] == "done"
    for s in silent:
        s.close()


def test_many_at_once(server: Server) -> None:
    picture, statuses = file_of(grass(32)), []
    threads = [
        threading.Thread(target=lambda: statuses.append(ask(server, "POST", "/pictures", picture, BYTES).status))
        for _ in range(30)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [201] * 30


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts open files where Linux lists them")
def test_a_thousand_uploads_leave_nothing_behind(server: Server) -> None:
    def held() -> tuple[int, int]:
        """Open files and KiB of memory, after waitress has tidied up."""
        time.sleep(1.5)
        status = Path("/proc/self/status").read_text()
        return len(list(Path("/proc/self/fd").iterdir())), int(status.split("VmRSS:")[1].split()[0])

    data = file_of(grass())
    for _ in range(100):
        upload(server, data)
    before = held()
    for _ in range(10):
        threads = [threading.Thread(target=upload, args=(server, data)) for _ in range(100)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    files_left, memory_left = (b - a for a, b in zip(before, held(), strict=True))
    assert files_left <= 2
    assert memory_left < 30_000, "KiB; a thousand of these pictures would be 64,000"
    assert len(server.workshop.pictures) == KEPT


# ---------------------------------------------------------------------------------------------- what is remembered


def test_the_shelf_keeps_the_last_few() -> None:
    shelf: Shelf[int] = Shelf(2)
    names = [shelf.put(k) for k in range(4)]
    assert len({*names}) == 4
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in names)
    assert [shelf.get(name) for name in names] == [None, None, 2, 3]


def test_old_pictures_and_results_are_forgotten(server: Server) -> None:
    pictures = [upload(server, file_of(grass(32))) for _ in range(KEPT + 1)]
    assert [ask(server, "GET", f"/pictures/{p}").status for p in pictures] == [404] + [200] * KEPT
    forgotten = order(server, pictures[0])
    assert (forgotten.status, forgotten.error) == (404, "your picture is no longer kept; choose it again")
    jobs = []
    for seed in range(KEPT + 1):
        jobs.append(order(server, pictures[-1], "8x8", seed=seed).json["job"])
        outcome(server, jobs[-1])
    assert [ask(server, "GET", f"/jobs/{j}/result").status for j in jobs] == [404] + [200] * KEPT
    assert "no longer kept" in ask(server, "GET", f"/jobs/{jobs[0]}").error


def test_nothing_goes_to_temporary_files(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def refuse(*args: Any, **kwargs: Any) -> None:
        asked.append(args)
        raise AssertionError("a temporary file was asked for")

    for name in ("TemporaryFile", "NamedTemporaryFile", "mkstemp", "mkdtemp"):
        monkeypatch.setattr(f"tempfile.{name}", refuse)
    noise = np.random.default_rng(0).integers(0, 256, (560, 560, 3), np.uint8)
    data = file_of(load(noise))
    assert len(data) > 900_000  # waitress would put half of that into a file
    job = order(server, upload(server, data), "700x700").json["job"]
    assert outcome(server, job)["state"] == "done"
    assert len(ask(server, "GET", f"/jobs/{job}/result").body) > 2**20
    assert asked == []


# ------------------------------------------------------------------------------------------------ the page's files


def test_the_page_asks_nobody_else() -> None:
    folder = files("texsyn.web") / "static"
    assert {f.name for f in folder.iterdir()} == {name for name, _ in FILES.values()}
    for name, _ in FILES.values():
        text = (folder / name).read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search(r"https?:|[\"'(]//|@import|\beval\b|innerHTML|style=|onclick=|<script>|<style", text), name


def test_every_control_of_the_page_has_a_label() -> None:
    html = (files("texsyn.web") / "static" / "index.html").read_text(encoding="utf-8")
    fors = set(re.findall(r'<label[^>]* for="(\w+)"', html))
    inside = "".join(re.findall(r"<label.*?</label>", html, re.DOTALL))
    for control in re.findall(r"<input[^>]*>", html):
        found = re.search(r'id="(\w+)"', control)
        assert control in inside or (found and found[1] in fors), control
    assert 'lang="en"' in html
    assert 'aria-live="polite"' in html


def test_the_wheel_takes_the_static_files_along() -> None:
    project = ROOT / "pyproject.toml"
    if not project.exists():
        pytest.skip("not a checkout")
    data = tomllib.loads(project.read_text(encoding="utf-8"))
    assert data["tool"]["setuptools"]["package-data"]["texsyn.web"] == ["static/*"]
    assert all(f.is_file() for f in (files("texsyn.web") / "static").iterdir())


# ------------------------------------------------------------------------------------------------ the command line

RUN = "import sys, texsyn.cli.web; from texsyn.cli import main; main(sys.argv[1:])"


def code_of(*args: str) -> int:
    with pytest.raises(SystemExit) as stop:
        main([*args])
    return int(stop.value.code or 0)


def test_help_imports_neither_torch_nor_the_server() -> None:
    code = (
        f"{RUN.replace('main(sys.argv[1:])', '')}\ntry: main(['web', '--help'])\nexcept SystemExit: print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--max-pixels" in run.stdout
    assert {name.split(".")[0] for name in run.stdout.split()} & {"torch", "numba", "scipy", "waitress"} == set()


def test_without_waitress_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "waitress", None)
    assert code_of("web", "--port", "0", "--no-browser") == 1
    assert capsys.readouterr().err == "texsyn: web needs a further package: pip install 'texsyn[web]'\n"


def test_a_port_in_use_is_one_sentence(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("web", "--port", str(server.port), "--no-browser") == 1
    said = capsys.readouterr().err
    assert said == f"texsyn: --port: {server.port} is taken by another program; --port 0 takes a free one\n"


@pytest.mark.parametrize("args", [["--port", "65536"], ["--port", "x"], ["--max-pixels", "0"], ["--max-seconds", "0"]])
def test_wrong_options_are_refused(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("web", *args) == 2
    assert args[0] in capsys.readouterr().err


def test_it_listens_on_this_machine_alone(server: Server) -> None:
    assert server.url == f"http://127.0.0.1:{server.port}/"
    assert server._server.socket.getsockname()[0] == "127.0.0.1"


@pytest.mark.parametrize("wanted", [True, False])
def test_it_opens_the_browser_unless_told_not_to(
    wanted: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened, seen = threading.Event(), list[str]()
    monkeypatch.setattr("webbrowser.open", lambda url: (seen.append(url), opened.set()))
    monkeypatch.setattr(Server, "wait", lambda self: opened.wait(10 if wanted else 0.1))
    assert code_of("web", "--port", "0", *([] if wanted else ["--no-browser"])) == 0
    said = capsys.readouterr()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\n", said.out)
    assert seen == ([said.out.strip()] if wanted else [])
    assert said.err == "texsyn: this page is for you alone; Ctrl-C ends it\n"


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_ends_it_while_a_picture_is_made() -> None:
    command = [sys.executable, "-c", RUN, "web", "--port", "0", "--no-browser", "--max-pixels", "9000000"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\n", process.stdout.readline())
        assert found
        running = Server.__new__(Server)  # the other process's, as ask() needs it
        running.port = int(found[1])
        job = order(running, upload(running, file_of(grass(128))), "2900x2900").json["job"]
        for _ in range(400):
            if ask(running, "GET", f"/jobs/{job}").json["fraction"] > 0:
                break
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert said.splitlines()[-1] == "texsyn: interrupted; no unfinished file was left"
    assert "Traceback" not in said


# ------------------------------------------------------------------------------------------------------ in a browser


def browser() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
    return next(filter(None, map(shutil.which, names)), None)


DROP = """() => {
    const files = new DataTransfer();
    files.items.add(new File(["no picture"], "x.png"));
    window.dispatchEvent(new DragEvent("drop", { dataTransfer: files, cancelable: true }));
}"""


@pytest.mark.skipif(browser() is None, reason="no Chromium or Chrome here")
@pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="needs playwright: pip install playwright")
def test_the_whole_way_in_a_browser(server: Server, tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    data, complaints, foreign = file_of(grass()), list[str](), list[str]()
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=browser())
        page = chromium.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        ours = re.compile(rf"http://(127\.0\.0\.1|localhost):{server.port}/|about:blank")
        page.on("request", lambda r: None if ours.match(r.url) else foreign.append(r.url))
        page.goto(server.url)
        assert page.locator("#make").is_disabled()
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.id") == "file", "the first stop of the Tab key"
        page.set_input_files("#file", {"name": "my grass.v2.png", "mimeType": "image/png", "buffer": data})
        page.get_by_role("button", name="3×").click()
        assert page.get_by_label("Width").input_value() == "768"
        page.get_by_label("Width").fill("300")
        page.get_by_label("Height").fill("270")
        page.get_by_label("both").check()
        page.get_by_role("button", name="Random").click()
        assert page.get_by_role("spinbutton", name="Seed").input_value().isdigit()
        page.get_by_role("spinbutton", name="Seed").fill("12")
        page.get_by_role("button", name="Make").press("Enter")
        link = page.get_by_role("link", name="Download PNG")
        link.wait_for(timeout=60_000)
        with page.expect_download() as waited:
            link.click()
        waited.value.save_as(tmp_path / "made.png")
        wanted = texsyn.synth(data, "300x270", seed=12, tile="xy")
        made = (tmp_path / "made.png").read_bytes()
        assert waited.value.suggested_filename == "my grass.v2_300x270_seed12.png"
        assert np.array_equal(load(made).pixels, wanted.pixels)
        recipe = read_recipe(made)
        assert recipe is not None
        assert (recipe["seed"], recipe["pixels_sha256"]) == (12, wanted.image.sha256)
        painted = page.evaluate(
            "[...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 300, 270).data]"
        )
        assert np.array_equal(np.reshape(painted, (270, 300, 4))[..., :1], wanted.pixels), "the tiles, in their places"
        page.get_by_label("show it repeated").check()
        assert page.locator("#repeated").is_visible()
        assert page.get_by_role("alert").inner_text() == ""
        assert complaints == []

        page.get_by_label("Width").fill("99999")
        page.get_by_role("button", name="Make").click()
        page.get_by_text("more than the accepted").wait_for()
        page.get_by_label("Width").fill("1440")
        page.get_by_label("Height").fill("1440")
        page.get_by_role("button", name="Make").click()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_text("Cancelled.").wait_for()

        page.get_by_role("button", name="Make").click()
        with page.expect_response(lambda r: re.search("/jobs/[0-9a-f]{32}$", r.url) is not None) as asked:
            pass
        page.evaluate(DROP)
        assert page.locator("#make").is_disabled(), "what is dropped while a picture is made is left alone"
        page.goto("about:blank")
        assert outcome(server, asked.value.url.rpartition("/")[2])["state"] == "cancelled", "nobody looks at it"

        page.goto(server.url.replace("127.0.0.1", "localhost"))
        page.evaluate(DROP)
        page.get_by_text("not a picture that is known here").wait_for()
        assert page.locator("#make").is_disabled()
        chromium.close()
    assert foreign == []
