"""The house rules that a machine can check: import floors, what may be imported where, randomness, docstrings."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: floor of every module, by the longest prefix; imports go downstairs or stay on the floor
FLOORS = {
    "texsyn.images": 0,
    "texsyn.png16": 0,
    "texsyn.variants": 0,
    "texsyn.coordinate_files": 0,
    "texsyn.noise": 0,
    "texsyn.blocks": 0,
    "texsyn.heap": 0,
    "texsyn.pyramid": 0,
    "texsyn.regularity": 0,
    "texsyn.cubic": 0,
    "texsyn.patches": 0,
    "texsyn.adsn": 0,
    "texsyn.coordinates": 0,
    "texsyn.coordinates_triton": 0,
    "texsyn.copying": 0,
    "texsyn.material": 0,
    "texsyn.material_files": 0,
    "texsyn.atlas": 0,
    "texsyn.ascent": 0,
    "texsyn.ot": 0,
    "texsyn.weights": 0,
    "texsyn.state_dicts": 0,
    "texsyn.stack_machine": 0,
    "texsyn.training": 1,
    "texsyn.texture_losses": 1,
    "texsyn.picture_descent": 1,
    "texsyn.features": 1,
    "texsyn.maps": 0,
    "texsyn.vgg": 1,
    "texsyn.random_features": 1,
    "texsyn.inception": 0,
    "texsyn.inception_features": 1,
    "texsyn.feature_names": 1,
    "texsyn.models": 1,
    "texsyn.gan": 1,
    "texsyn.datasets": 2,
    "texsyn.metrics": 2,
    "texsyn.editing": 2,
    "texsyn.latent_editing": 2,
    "texsyn.projection": 2,
    "texsyn.manipulation": 2,
    "texsyn.painting": 0,
    "texsyn.guides": 2,
    "texsyn.morphing": 0,
    "texsyn.wishes": 3,
    "texsyn.report": 3,
    "texsyn.synthesis": 3,
    "texsyn.generation": 3,
    "texsyn.recipes": 3,
    "texsyn.render": 3,
    "texsyn.repro": 3,
    "texsyn.evaluation": 3,
    "texsyn.cluster": 3,
    "texsyn.batch": 3,
    "texsyn.web": 3,
    "texsyn.cli": 3,
    "texsyn.__main__": 3,
}
DOORS = 3
SHARED_BY_MODELS = {
    "texsyn.models",
    "texsyn.models.base",
    "texsyn.models.layers",
    "texsyn.models.generators",
    "texsyn.models.scale_networks",
    "texsyn.models.trained",
}
FOR_DOORS_ONLY = {"matplotlib", "tqdm"}
OPTIONAL = {
    "pykeops",
    "ot",
    "faiss",
    "skimage",
    "torchvision",
    "zarr",
    "dask",
    "distributed",
    "triton",
    "waitress",
    "OpenEXR",
    "av",
    "plenoptic",
    "torchmetrics",
    "sklearn",
    "lmdb",
}  # ot is POT, not texsyn.ot
#: draw from torch's global stream unless they are given a generator
TORCH_DRAWS = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial", "poisson"}
CLOCKS = {"time", "time_ns", "perf_counter", "perf_counter_ns", "process_time", "monotonic", "monotonic_ns"}

Function = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def modules() -> dict[str, Path]:
    """Dotted name -> file, for all of texsyn/; a package goes by its own name."""
    found = {}
    for path in sorted((ROOT / "texsyn").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(name: str, known: set[str]) -> Iterator[tuple[str, int, bool]]:
    """(dotted module, line, whether inside a function) for every import statement of a module."""

    def visit(node: ast.AST, inside: bool) -> Iterator[tuple[str, int, bool]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                for alias in child.names:
                    yield alias.name, child.lineno, inside
            elif isinstance(child, ast.ImportFrom):
                base = child.module or ""
                if child.level:
                    package = name.split(".") if modules()[name].name == "__init__.py" else name.split(".")[:-1]
                    base = ".".join([*package[: len(package) - child.level + 1], *([base] if base else [])])
                for alias in child.names:
                    whole = f"{base}.{alias.name}"
                    yield whole if whole in known else base, child.lineno, inside
            else:
                yield from visit(child, inside or isinstance(child, Function))

    yield from visit(tree_of(modules()[name]), False)


def all_imports() -> Iterator[tuple[str, str, int, bool]]:
    for name in modules():
        for target, line, inside in imports(name, set(modules())):
            yield name, target, line, inside


def floor(name: str) -> int | None:
    parts = name.split(".")
    prefixes = [".".join(parts[:n]) for n in range(len(parts), 0, -1)]
    return next((FLOORS[p] for p in prefixes if p in FLOORS), None)


def dotted(node: ast.AST) -> str:
    """torch.nn.functional for the expression that says so, else the empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = dotted(node.value)
        return f"{base}.{node.attr}" if base else ""
    return ""


def named(path: Path, line: int, what: str) -> str:
    return f"{path.relative_to(ROOT).as_posix()}:{line}: {what}"


def listed(wrong: list[str]) -> str:
    return "\n" + "\n".join(wrong)


def in_python(*folders: str) -> Iterator[tuple[Path, ast.AST]]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(tree_of(path)):
                yield path, node


# --------------------------------------------------------------------------------------------------------- imports


def test_every_module_has_a_floor() -> None:
    assert len(modules()) > 10
    assert [name for name in modules() if name != "texsyn" and floor(name) is None] == []


def test_imports_go_downstairs_or_stay_on_the_floor() -> None:
    wrong = []
    for name, target, line, _ in all_imports():
        if name == "texsyn" or not target.startswith("texsyn."):
            continue  # the root package holds names and the version; test_the_root_imports_no_room looks at it
        mine, theirs = floor(name), floor(target)
        if mine is None or theirs is None or theirs > mine:
            wrong.append(named(modules()[name], line, f"floor {mine} imports {target} from floor {theirs}"))
    assert not wrong, listed(wrong)


def test_the_root_imports_no_room() -> None:
    assert [target for target, _, _ in imports("texsyn", set(modules())) if target.startswith("texsyn")] == []


def test_models_do_not_import_their_siblings() -> None:
    wrong = []
    for name, target, line, _ in all_imports():
        sibling = target.startswith("texsyn.models.") and target not in SHARED_BY_MODELS | {name}
        if sibling and name.startswith("texsyn.models"):  # the package too: one model must not bring all the others
            wrong.append(named(modules()[name], line, target))
    assert not wrong, listed(wrong)


def test_plots_and_progress_bars_stay_at_the_doors() -> None:
    wrong = [
        named(modules()[name], line, target)
        for name, target, line, _ in all_imports()
        if target.split(".")[0] in FOR_DOORS_ONLY and floor(name) != DOORS
    ]
    assert not wrong, listed(wrong)


def test_optional_packages_are_imported_inside_functions() -> None:
    wrong = [
        named(modules()[name], line, target)
        for name, target, line, inside in all_imports()
        if target.split(".")[0] in OPTIONAL and not inside
    ]
    assert not wrong, listed(wrong)


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_importing_texsyn_is_cheap() -> None:
    loaded = loaded_by("import texsyn")
    assert "texsyn" in loaded
    assert loaded & {"torch", "numba", "scipy", "PIL", "skimage"} == set()


def test_importing_the_command_line_does_not_import_torch() -> None:
    path = modules().get("texsyn.cli")
    if path is None or not any(isinstance(n, ast.FunctionDef) and n.name == "main" for n in tree_of(path).body):
        pytest.skip("texsyn.cli has no main yet")
    commands = "import texsyn.cli" + ("; import texsyn.cli.commands" if "texsyn.cli.commands" in modules() else "")
    assert loaded_by(commands) & {"torch", "numba", "scipy"} == set()


# ------------------------------------------------------------------------------------------- the library's manners


def test_nothing_is_unpickled() -> None:
    wrong = []
    for name, target, line, _ in all_imports():
        if target.split(".")[0] in {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "shelve", "joblib"}:
            wrong.append(named(modules()[name], line, target))
    for path, node in in_python("texsyn"):
        if isinstance(node, ast.Call) and dotted(node.func) == "torch.load":
            wrong.append(named(path, node.lineno, "torch.load"))
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle" and getattr(node.value, "value", True):
            wrong.append(named(path, node.value.lineno, "allow_pickle"))
        if isinstance(node, ast.ImportFrom) and node.module == "torch" and "load" in {a.name for a in node.names}:
            wrong.append(named(path, node.lineno, "from torch import load"))
    assert not wrong, listed(wrong)


def draws_from_a_global_stream(call: ast.Call) -> bool:
    where, _, what = dotted(call.func).rpartition(".")
    if where in {"np.random", "numpy.random"}:  # classes are fine, and so is default_rng(seed)
        return what[0].islower() and (what != "default_rng" or not (call.args or call.keywords))
    if where == "torch" and what in TORCH_DRAWS:
        return "generator" not in {k.arg for k in call.keywords}
    return where in {"torch", "torch.cuda", "torch.random"} and what in {"manual_seed", "manual_seed_all", "seed"}


def test_randomness_comes_from_a_seed_or_a_generator() -> None:
    wrong = []
    for path, node in in_python("texsyn"):
        if isinstance(node, ast.Call) and draws_from_a_global_stream(node):
            wrong.append(named(path, node.lineno, dotted(node.func)))
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            wrong += [named(path, node.lineno, "import random") for n in names if n == "random"]
    assert not wrong, listed(wrong)


def test_everything_public_has_a_docstring() -> None:
    wrong = []
    for path in modules().values():
        tree = tree_of(path)
        if tree.body and ast.get_docstring(tree) is None:
            wrong.append(named(path, 1, "module"))
        things = [n for n in tree.body if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))]
        for thing in things:
            if not (thing.name.startswith("_") or ast.get_docstring(thing) or is_overload(thing)):
                wrong.append(named(path, thing.lineno, thing.name))
    assert not wrong, listed(wrong)


def is_overload(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    return any(dotted(d).split(".")[-1] == "overload" for d in node.decorator_list)


# -------------------------------------------------------------------------------------------------- tests and files

COMPARING = {"all", "allclose", "any", "array_equal", "endswith", "equal", "isclose", "issubset", "startswith"}


def unasserted(tree: ast.AST) -> Iterator[int]:
    """Lines whose statement compares and throws the answer away."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr):
            value = node.value
            while isinstance(value, ast.UnaryOp):
                value = value.operand
            called = value.func if isinstance(value, ast.Call) else None
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if isinstance(value, (ast.Compare, ast.BoolOp)) or name in COMPARING:
                yield node.lineno


def test_no_comparison_is_left_unasserted() -> None:
    files = sorted((ROOT / "tests").rglob("*.py"))
    wrong = [named(path, line, "compares and asserts nothing") for path in files for line in unasserted(tree_of(path))]
    assert not wrong, listed(wrong)


def test_unasserted_comparisons_are_seen() -> None:
    seen = ["a == b", "not a < b", "a == 1 and f(b)", "torch.equal(a, b)", "(a == b).all()", "if c:\n    a in b"]
    for text in seen:
        assert list(unasserted(ast.parse(text))), text
    for text in ["assert a == b", "c = a == b", "f(a == b)", "assert torch.equal(a, b)", "all_of(a)"]:
        assert not list(unasserted(ast.parse(text))), text


def test_no_test_looks_at_the_clock() -> None:
    wrong = []
    for path, node in in_python("tests"):
        if isinstance(node, ast.Attribute) and dotted(node) in {f"time.{clock}" for clock in CLOCKS}:
            wrong.append(named(path, node.lineno, dotted(node)))
        if isinstance(node, ast.ImportFrom) and node.module in {"time", "timeit"}:
            wrong.append(named(path, node.lineno, f"from {node.module}"))
        if isinstance(node, ast.Import) and any(
            a.name == "timeit" or (a.name == "time" and a.asname) for a in node.names
        ):
            wrong.append(named(path, node.lineno, "time under another name"))
    assert not wrong, listed(wrong)


#: a file name from the root down, as opposed to a fraction, an address of the web or a part of a longer path
ABSOLUTE = re.compile(
    r"(?<![\w.~/:*<>)\]-])/(?!(?:dev|proc|sys)/|path/to\b|usr/bin/env\b)[A-Za-z_][\w.-]*/[\w.-]+|\b[A-Z]:\\{1,2}\w{2}"
)


def test_tracked_files_name_no_place_on_a_machine() -> None:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    wrong = []
    for name in filter(None, names.split("\0")):
        path = ROOT / name
        if not path.is_file():
            continue  # deleted and not yet committed
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        for number, line in enumerate(text.splitlines(), start=1):
            wrong += [named(path, number, found) for found in ABSOLUTE.findall(line)]
    assert not wrong, listed(wrong)


def test_places_on_a_machine_are_seen() -> None:
    slash, back = "/", "\\"
    for parts in (["", "home", "me", "x.png"], ["", "var", "x"], ["", "Users", "me"]):
        for before in ("", "'", '"', "(", "= ", "--out="):
            assert ABSOLUTE.search(before + slash.join(parts)), (before, parts)
    assert ABSOLUTE.search(f"C:{back}Users")
    for harmless in (
        "h/2/w",
        "1/2/3",
        "https://example.org/a/b",
        "a/b/c",
        "and/or",
        "/dev/null",
        "../a/b",
        "(h w)/(a/b)",
    ):
        assert not ABSOLUTE.search(harmless), harmless
