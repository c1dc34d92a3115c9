"""`texsyn compare`: table, JSON lines, page; rows measured in another way are refused; nothing half-written."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from texsyn.cli import main
from texsyn.images import Picture, save
from texsyn.metrics.anchors import random_blocks
from texsyn.metrics.neighbour_field import STEP
from texsyn.metrics.suite import COLUMNS
from texsyn.report import LONELY, copy_map

Run = Callable[..., tuple[int, str, str]]
ANCHORS = ["held-out half", "exemplar", "random phase", "blocks 16 px"]


def texture(h: int, w: int, n_channels: int = 3, seed: int = 0) -> np.ndarray:
    u = np.random.default_rng(seed).normal(120, 60, (h, w, n_channels))
    u = (u + np.roll(u, 1, 0) + np.roll(u, 1, 1)) / 3
    return np.clip(u, 0, 255).astype(np.uint8)


def write(name: str, pixels: np.ndarray) -> str:
    save(Picture(pixels, {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}[pixels.shape[2]]), name)
    return name


@pytest.fixture
def run(capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """texsyn compare in this process, in a folder with an exemplar and two pictures: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)
    rock = texture(64, 72)
    write("rock.png", rock)
    write("rolled.png", np.roll(rock, (20, 31), (0, 1)))
    write("other.png", texture(64, 72, seed=1))

    def call(*args: str) -> tuple[int, str, str]:
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["compare", *args])
        out, err = capfdbinary.readouterr()
        assert isinstance(stop.value.code, int)
        return stop.value.code, out.decode(), err.decode()

    return call


def refused(done: tuple[int, str, str], code: int, *words: str) -> None:
    assert done[:2] == (code, ""), done
    assert len(done[2].splitlines()) == 1, done[2]
    for word in words:
        assert word in done[2], done[2]


# ------------------------------------------------------------------------------------------------ table and JSON


def test_the_table_has_pictures_anchors_and_flags(run: Run) -> None:
    code, out, err = run("rock.png", "rolled.png", "other.png", "--tile", "xy", "-q")
    assert (code, err) == (0, "")
    heads, units, *lines = out.splitlines()
    assert "PSW 1x" in heads
    assert "SEAM" in heads
    assert "gl" in units
    names = ["rolled.png", "other.png", *ANCHORS]
    assert [next(name for name in names if line.startswith(name)) for line in lines] == names
    assert "copying" in lines[0]
    assert all("copying" not in line for line in lines[1:])
    assert "SEAM" not in run("rock.png", "other.png")[1].splitlines()[0]


def test_json_lines_say_how_they_were_measured(run: Run) -> None:
    code, out, err = run("rock.png", "rolled.png", "--json", "--seed", "5")
    assert (code, err) == (0, "")
    records = [json.loads(line) for line in out.splitlines()]
    assert [r["name"] for r in records] == ["rolled.png", *ANCHORS]
    assert [r["role"] for r in records] == ["output"] + 4 * ["anchor"]
    first = records[0]
    assert list(first["scores"]) == list(COLUMNS) == list(first["units"])
    assert set(first["missing"]) == {key for key, value in first["scores"].items() if value is None}
    assert first["picture"]["size"] == "72x64"
    assert len(first["picture"]["sha256"]) == len(first["measured"]["exemplar"]["sha256"]) == 64
    settings = first["measured"]["settings"]
    assert (settings["seed"], settings["patch_size"], settings["n_directions"]) == (5, 7, 128)
    assert settings["n_quantiles"] == 1024
    assert "copying" in first["flags"]
    assert all(r["measured"] == first["measured"] for r in records)


def test_rows_of_an_earlier_run_stand_beside_new_ones(run: Run) -> None:
    Path("a.jsonl").write_text(run("rock.png", "rolled.png", "--json")[1])
    whole = run("rock.png", "other.png", "rolled.png", "-q")
    assert run("rock.png", "other.png", "a.jsonl", "-q") == whole
    Path("b.json").write_text(run("rock.png", "other.png", "--json")[1])
    assert run("rock.png", "b.json", "a.jsonl", "-q") == whole


def test_rows_measured_in_another_way_are_refused(run: Run) -> None:
    text = run("rock.png", "rolled.png", "--json")[1]
    Path("a.jsonl").write_text(text)
    refused(run("rock.png", "a.jsonl", "--seed", "1"), 3, "a.jsonl: rolled.png", "settings seed 0", "it is 1")
    refused(run("other.png", "a.jsonl"), 3, "exemplar sha256")
    for changed in ('"copy_step": 4', '"n_quantiles": 1024', '"suite": 1'):
        key = changed.split(":")[0].strip('"')
        assert changed in text
        Path("b.json").write_text(text.replace(changed, f'"{key}": 9'))
        refused(run("rock.png", "a.jsonl", "b.json"), 3, "b.json", key, "9")


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", '{"name": "x"}', "null", "[" * 100_000, "\x00"],
)
def test_files_that_hold_no_records_are_refused(run: Run, text: str) -> None:
    Path("a.json").write_text(text)
    refused(run("rock.png", "a.json"), 3, "a.json", "record")


def test_records_with_wrong_values_are_refused(run: Run) -> None:
    good = run("rock.png", "rolled.png", "--json")[1].splitlines()[0]
    for wrong in ('"psw1": NaN', '"psw1": "4"', '"psw1": true', '"psw1": [1]', '"psw1": 1e999'):
        Path("a.json").write_text(re.sub(r'"psw1": [0-9.e-]+', wrong, good))
        refused(run("rock.png", "a.json"), 3, "line 1")
    Path("a.json").write_bytes(b"\xff\xfe")
    refused(run("rock.png", "a.json"), 3, "not text")
    refused(run("rock.png", "missing.json"), 3, "missing.json")


# ------------------------------------------------------------------------------------------------------ pictures


def test_pictures_of_another_kind_are_refused(run: Run) -> None:
    write("grey.png", texture(40, 40, 1))
    refused(run("rock.png", "grey.png"), 3, "grey.png has 1 channels (L)", "rock.png has 3 (RGB)")
    refused(run("rock.png", "missing.png"), 3, "missing.png")
    code, _, err = run("rock.png")
    assert code == 2
    assert "OUT" in err


def test_small_grey_and_transparent_pictures_are_compared(run: Run) -> None:
    write("tiny.png", texture(5, 6, 1))
    code, out, err = run("tiny.png", "tiny.png", "--html", "tiny.html")
    assert code == 0
    assert "PS-z" not in out
    assert "PS-z: " in err
    assert "too small" in Path("tiny.html").read_text()
    write("clear.png", texture(40, 44, 4))
    assert run("clear.png", "clear.png", "--html", "clear.html", "-q")[0] == 0


def test_seeds_are_compared_with_each_other(run: Run) -> None:
    names = [write(f"seed{i}.png", random_blocks(texture(64, 72), 32, seed=i)) for i in range(4)]
    scores = json.loads(run("rock.png", *names, "--seeds", "--json")[1].splitlines()[0])["scores"]
    assert scores["div_pixel"] == pytest.approx(1, abs=0.2)
    assert scores["div_shift"] > 0.3
    refused(run("rock.png", *names[:3], "--seeds"), 2, "--seeds", "got 3")
    save(Picture(texture(40, 40), "RGB"), names[3], overwrite=True)
    refused(run("rock.png", *names, "--seeds"), 2, "one size")
    Path("a.json").write_text("{}")
    refused(run("rock.png", *names, "a.json", "--seeds"), 2, "--seeds", ".json")


def test_maps_of_sources_say_what_is_copied(run: Run) -> None:
    np.save("whole.npy", np.stack(np.mgrid[:64, :72], -1).astype("<i4"))
    record = json.loads(run("rock.png", "other.png", "--coords", "whole.npy", "--json")[1].splitlines()[0])
    assert record["scores"]["copy"] == 100
    assert record["picture"]["copies"] == "map"
    np.save("outside.npy", np.stack(np.mgrid[8:72, :72], -1).astype("<i4"))
    refused(run("rock.png", "other.png", "--coords", "outside.npy"), 3, "outside.npy")
    np.save("small.npy", np.stack(np.mgrid[:60, :72], -1).astype("<i4"))
    refused(run("rock.png", "other.png", "--coords", "small.npy"), 3, "another size")
    refused(run("rock.png", "other.png", "rolled.png", "--coords", "whole.npy"), 2, "2 pictures need as many maps")


# ---------------------------------------------------------------------------------------------------------- page


class Page(HTMLParser):
    """Tags in order, whether they are closed in order, and every attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_needs_nothing_else(run: Run) -> None:
    assert run("rock.png", "rolled.png", "other.png", "--html", "report.html")[0] == 0
    text = Path("report.html").read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert page.open == []
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert "http" not in text.replace("http-equiv", "")
    sources = [value for name, value in page.attributes if name == "src"]
    assert len(sources) == 2 * 6  # picture and map of two pictures and four anchors
    assert all(value.startswith("data:image/png;base64,") for value in sources)
    images = [Image.open(io.BytesIO(base64.b64decode(value.partition(",")[2]))) for value in sources]
    assert images[0].size == (72, 64)  # the exemplar, which is the key, comes first
    assert images[1].size == ((72 - 8) // STEP + 1, (64 - 8) // STEP + 1)
    for words in ("rolled.png", "copying", "held-out half", "PSW 1x", "COPY", "cycles per pixel", "seed 0"):
        assert words in page.text
    assert page.tags.count("polyline") == 6
    assert page.tags.count("tr") == 1 + 6


@pytest.mark.skipif(sys.platform == "win32", reason="no such names there")
def test_names_are_text_and_nothing_else(run: Run) -> None:
    name = write('<img src=x onerror="alert(1)">&\x1b[31m.png', texture(64, 72, seed=3))
    code, out, _ = run("rock.png", name, "--html", "report.html")
    assert code == 0
    assert "\x1b" not in out
    text = Path("report.html").read_text(encoding="utf-8")
    assert "<img src=x" not in text
    assert "\x1b" not in text
    page = Page()
    page.feed(text)
    assert '<img src=x onerror="alert(1)">&' in page.text


def test_the_page_is_refused_before_the_work_and_never_half_there(run: Run, tmp_path: Path) -> None:
    refused(run("rock.png", "other.png", "--html", "report.pdf"), 2, "--html", ".html")
    refused(run("missing.png", "other.png", "--html", "no/where.html"), 4, "folder does not exist")
    Path("report.html").write_text("mine")
    refused(run("missing.png", "other.png", "--html", "report.html"), 2, "--overwrite")
    assert Path("report.html").read_text() == "mine"
    assert run("rock.png", "other.png", "--html", "report.html", "--overwrite", "-q")[0] == 0
    assert Path("report.html").read_text(encoding="utf-8").endswith("</html>\n")
    assert not list(tmp_path.glob(".*"))


def test_copy_maps_show_pieces_in_colour_and_the_rest_in_grey() -> None:
    ex = texture(48, 48, 1)
    whole = copy_map(ex, ex)
    assert whole.shape == (11, 11, 3)
    assert not (whole == LONELY).all(-1).any()
    steps = np.abs(np.diff(whole.astype(int), axis=1)).max()
    assert steps < 30  # a gradient
    assert (copy_map(texture(48, 48, 1, seed=8), ex) == LONELY).all(-1).mean() > 0.8
