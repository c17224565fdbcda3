"""Every example in a docstring runs, and every public function and class has a docstring."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from types import ModuleType

import pytest

import segblocks
import segblocks_kernels


def modules_of(package: ModuleType) -> list[str]:
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    return [package.__name__, *(m.name for m in found if not m.name.endswith("__main__"))]


MODULES = sorted({*modules_of(segblocks), *modules_of(segblocks_kernels)})


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str) -> None:
    module = importlib.import_module(name)
    results = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.failed == 0


def public_members(name: str) -> list[tuple[str, object]]:
    module = importlib.import_module(name)
    return [
        (f"{name}.{attribute}", member)
        for attribute, member in vars(module).items()
        if not attribute.startswith("_")
        and (inspect.isclass(member) or inspect.isfunction(member))
        and member.__module__ == name
    ]


@pytest.mark.parametrize("name", MODULES)
def test_public_names_are_documented(name: str) -> None:
    assert importlib.import_module(name).__doc__ or name.endswith("__init__")
    bare = [where for where, member in public_members(name) if not inspect.getdoc(member)]
    assert not bare
