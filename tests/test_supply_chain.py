"""Nothing in the library runs what a file holds."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import segblocks
import segblocks_kernels

ROOTS = [Path(module.__path__[0]) for module in (segblocks, segblocks_kernels)]
FILES = {
    f"{root.name}/{path.relative_to(root)}": path for root in ROOTS for path in root.rglob("*.py")
}
# The reader of checkpoints, which builds tensors and containers alone.
READER = "segblocks/zoo/safe_pickle.py"
UNPICKLERS = {"joblib", "dill", "cloudpickle", "shelve", "marshal", "pandas.read_pickle"}
RUNNING = {"eval", "exec", "compile", "__import__"}


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Every call of a file, by the words that it is written with."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def given(call: ast.Call, name: str) -> object:
    """The constant that an argument is given, if any."""
    values = [k.value for k in call.keywords if k.arg == name]
    return values[0].value if values and isinstance(values[0], ast.Constant) else None


def unsafe(path: Path) -> list[str]:
    """What a file does that could run the content of another."""
    found = []
    for words, call in calls(path):
        module, _, function = words.rpartition(".")
        if (
            (module in ("pickle", "cPickle") and function.lower() in ("load", "loads", "unpickler"))
            or (words == "torch.load" and given(call, "weights_only") is not True)
            or (words in ("np.load", "numpy.load") and given(call, "allow_pickle"))
            or (module == "yaml" and function in ("load", "unsafe_load", "full_load"))
            or words in RUNNING
            or words.startswith(("torch.jit.load", "torch.hub.load", "torch.package"))
        ):
            found.append(f"{path}:{call.lineno}: {words}")
    return found


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_no_module_unpickles_or_runs_text() -> None:
    assert not [place for path in FILES.values() for place in unsafe(path)]
    assert not {n: bad for n, path in FILES.items() if (bad := imported(path) & UNPICKLERS)}


def test_unpickling_is_in_one_file() -> None:
    names = [n for n, path in FILES.items() if "Unpickler" in path.read_text()]
    classes = [
        name
        for name in names
        for node in ast.walk(ast.parse(FILES[name].read_text()))
        if isinstance(node, ast.ClassDef) and any("Unpickler" in ast.unparse(b) for b in node.bases)
    ]
    assert classes == [READER]


@pytest.mark.parametrize(
    "line",
    [
        "pickle.load(file)",
        "pickle.Unpickler(file)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "torch.jit.load(path)",
        "eval(text)",
    ],
)
def test_what_is_looked_for_is_found(line: str, tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text(f"def read():\n    return {line}\n")
    assert unsafe(file) == [f"{file}:2: {line.partition('(')[0]}"]
