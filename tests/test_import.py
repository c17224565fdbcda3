"""What an import costs: which modules it brings, as times depend on the machine."""

from __future__ import annotations

import subprocess
import sys

HEAVY = (
    *("accelerate", "av", "matplotlib", "open_clip", "pycocotools", "skimage", "tensorboard"),
    *("timm", "torchvision", "trackeval", "transformers", "triton"),
    *("scipy.ndimage", "scipy.optimize", "scipy.sparse", "scipy.spatial"),
    *("sympy", "torch._dynamo", "torch._inductor", "torch.utils.tensorboard"),
)


def imported_by(code: str) -> set[str]:
    """All modules of a fresh process after some code."""
    program = f"import sys\n{code}\nprint(*sys.modules)"
    path = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=path,
        check=False,
    )
    assert ran.stderr == ""
    return set(ran.stdout.split())


def test_the_package_alone_imports_no_torch() -> None:
    assert not {"torch", "numpy"} & imported_by("import segblocks")


def test_all_that_it_offers_needs_no_heavy_module() -> None:
    modules = imported_by("from segblocks import *")
    assert {"torch", "segblocks.inference.engine", "segblocks.zoo.univs.model"} <= modules
    assert not modules.intersection(HEAVY)
