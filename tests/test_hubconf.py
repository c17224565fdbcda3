"""``torch.hub`` finds the models in a checkout, with or without an installation."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import segblocks
from segblocks.zoo.registry import SHIPPED_WEIGHTS

ROOT = Path(__file__).resolve().parents[1]


def test_every_model_is_an_entry_point() -> None:
    spec = spec_from_file_location("hubconf", ROOT / "hubconf.py")
    assert spec is not None
    assert spec.loader is not None
    hubconf = module_from_spec(spec)
    spec.loader.exec_module(hubconf)
    for name in segblocks.list_models():
        assert callable(getattr(hubconf, name))
        assert "segblocks.create_model" in getattr(hubconf, name).__doc__


def test_a_model_comes_with_its_weights() -> None:
    model = torch.hub.load(str(ROOT), "tarvis_nano", source="local")
    expected = load_file(SHIPPED_WEIGHTS / "tarvis_nano" / "model.safetensors")
    for name, value in model.state_dict().items():
        assert torch.equal(value, expected[name].to(value.dtype))


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="tarvis_micro"):
        torch.hub.load(str(ROOT), "tarvis_micro", source="local")


@pytest.mark.slow
def test_nothing_has_to_be_installed(tmp_path: Path) -> None:
    script = f"""
import sys
from pathlib import Path
sys.path[:] = [path for path in sys.path if not (Path(path) / "segblocks_kernels").is_dir()]
sys.meta_path[:] = [finder for finder in sys.meta_path if "editable" not in repr(finder).lower()]
import torch
model = torch.hub.load({str(ROOT)!r}, "tarvis_nano", source="local", checkpoint="random",
                       decoder_layers=1)
print(type(model).__name__, model.config.decoder_layers, model.training)
"""
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.stdout.strip() == "TarViS 1 True", run.stderr
