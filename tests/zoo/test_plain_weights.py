"""Weights are plain tensors: a process that has never heard of segblocks reads and uses them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from segblocks import create_model
from segblocks.zoo.registry import SHIPPED_WEIGHTS

# What a reader of the files does: find a layer by its name, and run it.
READER = """
import sys
import torch
from safetensors.torch import load_file

shipped, saved, out = sys.argv[1:]
outputs = []
for state in (load_file(shipped), torch.load(saved, weights_only=True)):
    assert all(type(value) is torch.Tensor for value in state.values())
    stem = state["backbone.net.conv_stem.weight"].float()
    outputs.append(torch.nn.functional.conv2d(torch.ones(1, 3, 8, 8), stem))
torch.save(outputs, out)
assert not [name for name in sys.modules if name.startswith("segblocks")]
"""


def test_plain_pytorch_reads_the_weights_as_they_are_shipped_and_saved_again(
    tmp_path: Path,
) -> None:
    model = create_model("tarvis_nano")
    torch.save(model.state_dict(), tmp_path / "state.pt")
    shipped = SHIPPED_WEIGHTS / "tarvis_nano" / "model.safetensors"
    files = [str(path) for path in (shipped, tmp_path / "state.pt", tmp_path / "out.pt")]
    run = subprocess.run(
        [sys.executable, "-c", READER, *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    stem = model.get_parameter("backbone.net.conv_stem.weight")
    expected = torch.nn.functional.conv2d(torch.ones(1, 3, 8, 8), stem)
    for found in torch.load(files[2], weights_only=True):
        torch.testing.assert_close(found, expected)
