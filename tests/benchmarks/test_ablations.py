"""The ablations of TarViS: what they compare, and that they run, slim and for one step."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.learning import ablations
from benchmarks.learning.tarvis_variants import VARIANTS
from segblocks.tasks import VIS, VOS

TINY = [
    *("--seeds", "0", "--steps", "1", "--batch", "1", "--workers", "0", "--device", "cpu"),
    *("--size", "48", "64", "--frames", "4", "--videos", "1", "--preset", "tiny", "--clip", "3"),
]
SLIM = replace(
    ablations.CONFIG,
    backbone="resnet18",
    embed_dim=32,
    num_heads=4,
    neck_layers=2,
    decoder_layers=1,
    encoder_layers=1,
    num_instance_queries=6,
)


def test_each_variant_is_measured_by_what_it_was_trained_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pycocotools")
    pytest.importorskip("accelerate")
    monkeypatch.setattr(ablations, "CONFIG", SLIM)
    monkeypatch.setattr(ablations, "load_initial", lambda *_: None)
    # Propagation needs weights from elsewhere.
    monkeypatch.delitem(ablations.BASELINES, "k-NN propagation")
    names = ["VIS alone, linear classes", "hints alone, pooled objects"]
    monkeypatch.setattr("sys.argv", ["a", "--out", str(tmp_path), "--variants", *names, *TINY])
    ablations.main()
    runs = json.loads((tmp_path / "ablations.json").read_text())["runs"]
    assert {name: list(found["0"]) for name, found in runs.items()} == {
        "repeat first": ["VIS AP", "VPS VPQ", "VPS STQ", "VOS J&F", "PET HOTA"],
        names[0]: ["VIS AP"],
        names[1]: ["VOS J&F", "PET HOTA"],
    }


def test_variants_lack_what_they_are_called_after() -> None:
    models = {name: variant.make(SLIM).eval() for name, variant in VARIANTS.items()}
    assert not len(models["hints alone, pooled objects"].object_encoder.layers)
    frames = torch.randint(0, 256, (1, 2, 3, 64, 64), dtype=torch.uint8)
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[:, 8:40, 8:40] = True
    hinted = VOS(mask.numpy())
    groups = {
        name: models[name](frames, hinted).groups
        for name in ("hints alone", "hints alone, no background queries")
    }
    sizes = {name: _size(found["object_background"]) for name, found in groups.items()}
    assert list(sizes.values()) == [16, 0]
    one = models["hints alone, one query an object"](frames, hinted).groups
    assert _size(one["object"]) == 1 < _size(groups["hints alone"]["object"])
    linear = models["VIS alone, linear classes"](frames, VIS("synthetic"))
    assert list(linear.groups) == ["instance"]
    assert linear.class_logits is not None
    whole = models["full"](frames, VIS("synthetic")).class_logits
    assert whole is not None
    assert linear.class_logits.shape == whole.shape


def test_without_temporal_attention_frames_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    frames = torch.randint(0, 256, (1, 2, 3, 64, 64), dtype=torch.uint8)
    changed = frames.clone()
    changed[:, 1] = 0
    same = {}
    for name in ("hints alone", "hints alone, no temporal attention"):
        model = VARIANTS[name].make(SLIM).eval()
        with torch.no_grad():
            a, b = (model.neck(model.extract(x))[4][:, 0] for x in (frames, changed))
        same[name] = torch.equal(a, b)
    assert list(same.values()) == [False, True]


def _size(group: slice) -> int:
    return group.stop - group.start
