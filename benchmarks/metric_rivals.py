"""Inception features, whole FIDs and heads beside the libraries that are installed, for bench_metrics.py.

pytorch-fid, torch-fidelity, torchmetrics, clean-fid and prdc get the same random weights and the same pictures as we,
one thread, in one run, each job in turn with all others; tests/oracles says how to install them. Weights are random, so
the numbers mean nothing; that they agree is what shows that the same work was done.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import importlib.util
import io
import runpy
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from texsyn.evaluation import evaluate
from texsyn.images import Picture, save
from texsyn.metrics.inception import features, from_state_dict
from texsyn.metrics.kid import kid
from texsyn.metrics.neighbours import neighbour_scores
from texsyn.metrics.sifid import sifid

random_weights = runpy.run_path(
    str(Path(__file__).resolve().parents[1] / "tests" / "oracles" / "random_weights.py"), {"__name__": "random_weights"}
)
textures = random_weights["textures"]
PACKAGES = ("pytorch-fid", "torch-fidelity", "torchmetrics", "clean-fid", "prdc")
Job = Callable[[], Any]


def library(name: str) -> Any:
    """The module, with what torchvision registers without its compiled part passed over; ImportError without it."""
    register = torch.library.register_fake

    def lenient(op: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(op, str) and op.startswith("torchvision::"):
            return lambda f: f
        return register(op, *args, **kwargs)

    torch.library.register_fake = lenient
    try:
        return importlib.import_module(name)
    except RuntimeError as error:
        raise ImportError(str(error)) from error
    finally:
        torch.library.register_fake = register


def versions() -> dict[str, str]:
    """Of the libraries; "missing" where one is not installed."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "missing"
    return found


def in_turn(jobs: dict[str, Job], rounds: int) -> dict[str, tuple[Any, float, float]]:
    """name -> (answer, median CPU seconds, median seconds), rounds times all jobs one after the other."""
    cpu: dict[str, list[float]] = {name: [] for name in jobs}
    wall: dict[str, list[float]] = {name: [] for name in jobs}
    answers = {}
    for _ in range(rounds):
        for name, job in jobs.items():
            before, at = time.process_time(), time.perf_counter()
            with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
                warnings.simplefilter("ignore")
                try:
                    answers[name] = job()
                except (ValueError, RuntimeError) as error:  # a failure is a result
                    answers[name] = error
            cpu[name].append(time.process_time() - before)
            wall[name].append(time.perf_counter() - at)
    return {name: (answers[name], statistics.median(cpu[name]), statistics.median(wall[name])) for name in jobs}


def with_weights(module: Any, state: dict[str, Tensor]) -> Any:
    """A module whose network would be downloaded, with ours instead."""
    module.load_state_dict_from_url = lambda *unused, **ignored: state
    return module


def extractors(state: dict[str, Tensor], file: Path) -> dict[str, tuple[str, Callable[[np.ndarray], Tensor]]]:
    """library -> (the resize of ours that it has, a function from a batch (n, h, w, 3) uint8 to features)."""
    found: dict[str, tuple[str, Callable[[np.ndarray], Tensor]]] = {}

    def planes(batch: np.ndarray) -> Tensor:
        return torch.from_numpy(batch).permute(0, 3, 1, 2).contiguous()

    with contextlib.suppress(ImportError):
        pytorch_fid = with_weights(library("pytorch_fid.inception"), state).InceptionV3([3]).eval()
        found["pytorch-fid"] = "pytorch-fid", lambda batch: pytorch_fid(planes(batch).float() / 255)[0].flatten(1)
    with contextlib.suppress(ImportError):
        module = library("torch_fidelity.feature_extractor_inceptionv3")
        fidelity = module.FeatureExtractorInceptionV3(
            "inception-v3-compat", ["2048"], feature_extractor_weights_path=str(file)
        )
        found["torch-fidelity"] = "reference", lambda batch: fidelity(planes(batch))[0]
    with contextlib.suppress(ImportError):
        module = library("torchmetrics.image.fid")
        metric = module.FrechetInceptionDistance(2048, feature_extractor_weights_path=str(file), antialias=False)
        found["torchmetrics"] = "reference", lambda batch: metric.inception(planes(batch))
    with contextlib.suppress(ImportError):
        network = clean_network(state)
        for mode, resize in (("clean", "clean"), ("legacy_pytorch", "pytorch-fid")):
            resizer = library("cleanfid.resize").build_resizer(mode)

            def extract(batch: np.ndarray, resizer: Any = resizer, mode: str = mode) -> Tensor:
                x = torch.from_numpy(np.stack([resizer(picture) for picture in batch]).transpose(0, 3, 1, 2).copy())
                return network((x - 128) / 128 if mode == "clean" else 2 * (x / 255) - 1)[0].flatten(1)

            found[f"clean-fid, {mode}"] = resize, extract
    return found


def clean_network(state: dict[str, Tensor]) -> Any:
    """The network of clean-fid that is no file of TorchScript, for values that are scaled already."""
    module = with_weights(library("cleanfid.inception_pytorch"), state)
    return module.InceptionV3([3], resize_input=False, normalize_input=False).eval()


def bench_extraction(quick: bool) -> dict[str, Any]:
    """CPU seconds a picture and pictures a second, all sizes and batches; ratio is to ours with the same resizer."""
    state = random_weights["random_state_dict"]()
    net = from_state_dict(state, sha256="random")
    cases = []
    with tempfile.TemporaryDirectory() as place, torch.no_grad():
        file = Path(place) / "random.pth"
        torch.save(state, file)
        theirs = extractors(state, file)
        for side in (64,) if quick else (64, 256):
            for batch in (8,) if quick else (1, 8, 32):
                n = max(8, batch)
                cases.append(_extraction(net, theirs, textures(n, side, side, seed=2), batch, 1 if quick else 2))
                print(f"features of {n} pictures of {side} px in batches of {batch}")
                for name, row in cases[-1]["rows"].items():
                    print(f"  {name:26}{row['cpu_s']:8.4f} CPU s a picture  x{row['ratio']:.2f}", flush=True)
        stems = {tap: _stem(net, tap, quick) for tap in ("192pre", "64pre")}
    return {"libraries": versions(), "d": 2048, "cases": cases, "sifid_256": stems}


def _extraction(net: Any, theirs: dict[str, Any], pictures: np.ndarray, batch: int, rounds: int) -> dict[str, Any]:
    jobs: dict[str, Job] = {
        f"ours, {mode}": lambda mode=mode: features(net, pictures, resize=mode, batch=batch)["2048"].values
        for mode in ("reference", "pytorch-fid", "clean")
    }
    same = dict(zip(jobs, jobs, strict=True))
    for name, (resize, extract) in theirs.items():
        jobs[name] = lambda extract=extract: torch.cat([extract(b) for b in np.split(pictures, len(pictures) // batch)])
        same[name] = f"ours, {resize}"
    done, rows = in_turn(jobs, rounds), {}
    for name, (values, cpu, wall) in done.items():
        expected, ours, _ = done[same[name]]
        rows[name] = {
            "cpu_s": cpu / len(pictures),
            "pictures_per_s": len(pictures) / wall,
            "ratio": cpu / ours,
            "difference": float((values - expected).abs().max() / expected.abs().max()),
        }
    return {"n": len(pictures), "side": pictures.shape[1], "batch": batch, "rows": rows}


def _stem(net: Any, tap: str, quick: bool) -> dict[str, float]:
    """SiFID of two pictures of 256 px, as it is, and its share that is the stem, a picture."""
    x, y = textures(2, 256, 256, seed=4)
    z = 2 * torch.from_numpy(np.stack([x, y])).permute(0, 3, 1, 2).float() / 255 - 1
    jobs: dict[str, Job] = {"stem": lambda: net(z, (tap,)), "whole": lambda: sifid(x, y, tap=tap, net=net)}
    done = in_turn(jobs, 1 if quick else 5)
    found = {f"{name}_cpu_s": done[name][1] / 2 for name in jobs}
    print(f"SiFID, {tap}, 256 px, CPU s a picture:", found, flush=True)
    return found | {"pictures_per_s": 2 / done["whole"][2]}


def bench_fid(n: int, side: int) -> dict[str, Any]:
    """FID from two folders of n PNG files to the number, networks built and weights loaded included."""
    state = random_weights["random_state_dict"]()
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "random.pth"
        torch.save(state, file)
        folders = [str(Path(place) / name) for name in ("real", "fake")]
        for seed, folder in enumerate(folders, start=2):
            Path(folder).mkdir()
            for k, pixels in enumerate(textures(n, side, side, seed=seed)):
                save(Picture(pixels, "RGB"), Path(folder) / f"{k:03}.png")
        jobs, same = _fid_jobs(state, file, folders)
        done = in_turn(jobs, 1)
    rows = {}
    for name, (value, cpu, wall) in done.items():
        expected, ours, _ = done[f"ours, {same.get(name, name.removeprefix('ours, '))}"]
        failed = isinstance(value, Exception)
        rows[name] = {"cpu_s": cpu, "seconds": wall, "ratio": cpu / ours}
        rows[name] |= {"error": str(value)} if failed else {"fid": value, "difference": abs(value / expected - 1)}
        said = f"fails: {value}" if failed else f"{value:.6f}"
        print(f"FID of {n} and {n} files, {name:18}{cpu:8.2f} CPU s  x{cpu / ours:.2f}  {said}", flush=True)
    return {"n": n, "side": side, "d": 2048, "rows": rows}


def _fid_jobs(state: dict[str, Tensor], file: Path, folders: list[str]) -> tuple[dict[str, Job], dict[str, str]]:
    jobs: dict[str, Job] = {
        f"ours, {mode}": lambda mode=mode: evaluate(
            *folders, ("fid",), net=from_state_dict(state, sha256="random"), resize=mode
        ).scores["fid"]
        for mode in ("reference", "pytorch-fid", "clean")
    }
    same: dict[str, str] = {}
    with contextlib.suppress(ImportError):
        with_weights(library("pytorch_fid.inception"), state)
        scores = library("pytorch_fid.fid_score")
        same["pytorch-fid"] = "pytorch-fid"
        jobs["pytorch-fid"] = lambda: float(scores.calculate_fid_given_paths(folders, 50, "cpu", 2048, num_workers=0))
    with contextlib.suppress(ImportError):
        fidelity = library("torch_fidelity")
        same["torch-fidelity"] = "reference"
        how = {"feature_extractor": "inception-v3-compat", "feature_extractor_weights_path": str(file)}
        jobs["torch-fidelity"] = lambda: fidelity.calculate_metrics(
            input1=folders[0], input2=folders[1], fid=True, cuda=False, cache=False, verbose=False, save_cpu_ram=True,
            batch_size=50, **how,
        )["frechet_inception_distance"]  # fmt: skip
    with contextlib.suppress(ImportError):
        module = library("torchmetrics.image.fid")
        same["torchmetrics"] = "reference"
        jobs["torchmetrics"] = lambda: _torchmetrics_fid(module, file, folders)
    with contextlib.suppress(ImportError):
        clean = library("cleanfid.fid")

        def of_clean_fid() -> float:
            network, cpu = clean_network(state), torch.device("cpu")

            def extract(x: Tensor) -> Tensor:
                found: Tensor = network((x - 128) / 128)[0].flatten(1)
                return found

            how = {"mode": "clean", "num_workers": 0, "device": cpu, "verbose": False}
            return float(clean.compute_fid(*folders, custom_feat_extractor=extract, **how))

        same["clean-fid"] = "clean"
        jobs["clean-fid"] = of_clean_fid
    return jobs, same


def _torchmetrics_fid(module: Any, file: Path, folders: list[str]) -> float:
    from PIL import Image

    metric = module.FrechetInceptionDistance(2048, feature_extractor_weights_path=str(file), antialias=False)
    for folder, real in zip(folders, (True, False), strict=True):
        paths = sorted(Path(folder).iterdir())
        for k in range(0, len(paths), 50):
            some = np.stack([np.asarray(Image.open(path)) for path in paths[k : k + 50]])
            metric.update(torch.from_numpy(some).permute(0, 3, 1, 2), real=real)
    return float(metric.compute())


def bench_heads(x: Tensor, y: Tensor, size: int) -> dict[str, Any]:
    """prdc's four scores and torchmetrics' KID beside ours, on x, y (n, d) float64. prdc with one job in place of 8."""
    k = 5
    jobs: dict[str, Job] = {
        "ours, prdc": lambda: [
            float(v)
            for r in neighbour_scores(x, y, k=(k, k))
            for v in (getattr(r, name) for name in ("precision", "recall", "density", "coverage") if hasattr(r, name))
        ],
        "ours, kid": lambda: kid(x, y, size=size).value,
    }
    with contextlib.suppress(ImportError):
        prdc = library("prdc.prdc")
        distances = prdc.sklearn.metrics.pairwise_distances
        prdc.compute_pairwise_distance = lambda a, b=None: distances(a, a if b is None else b)
        jobs["prdc"] = lambda: [float(v) for v in prdc.compute_prdc(y.numpy(), x.numpy(), k).values()]
    with contextlib.suppress(ImportError):
        module = library("torchmetrics.image.kid")
        for name, dtype in (("float64", torch.float64), ("float32", torch.float32)):
            jobs[f"torchmetrics kid, {name}"] = lambda dtype=dtype: _torchmetrics_kid(module, x, y, size, dtype)
    done, rows = in_turn(jobs, 1), {}
    for name, (value, cpu, _) in done.items():
        ours = done["ours, kid" if "kid" in name else "ours, prdc"][1]
        rows[name] = {"value": str(value) if isinstance(value, Exception) else value, "cpu_s": cpu, "ratio": cpu / ours}
        print(f"{name:26}{cpu:8.2f} CPU s  x{cpu / ours:.2f}  {value}", flush=True)
    return {"n": len(x), "d": x.shape[1], "k": k, "m": size, "rows": rows}


def _torchmetrics_kid(module: Any, x: Tensor, y: Tensor, size: int, dtype: torch.dtype) -> float:
    """100 subsets of its own draws: another estimate of the same number."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        metric = module.KernelInceptionDistance(feature=nn.Identity(), subsets=100, subset_size=size).set_dtype(dtype)
        metric.update(y.to(dtype), real=True)
        metric.update(x.to(dtype), real=False)
        return float(metric.compute()[0])
