"""A block on the page of interoperability that needs a package which PyPI does not have."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch

from segblocks.nn import TemporalNeck
from tests.docs.pages import read_blocks


class Registry(dict[str, type]):
    """What detectron2 documents of its registries: ``register()`` decorates, ``get`` finds."""

    def register(self) -> Callable[[type], type]:
        def add(kind: type) -> type:
            self[kind.__name__] = kind
            return kind

        return add


def test_a_pixel_decoder_registers_with_detectron2(monkeypatch: pytest.MonkeyPatch) -> None:
    registry, modeling = Registry(), ModuleType("detectron2.modeling")
    modeling.SEM_SEG_HEADS_REGISTRY = registry  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "detectron2", ModuleType("detectron2"))
    monkeypatch.setitem(sys.modules, "detectron2.modeling", modeling)
    block = next(b for b in read_blocks("docs/interop.md") if "SEM_SEG_HEADS" in b.text)
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(block.text, block.page, "exec"), names)

    head = SimpleNamespace(CONVS_DIM=32, TRANSFORMER_ENC_LAYERS=1)
    cfg = SimpleNamespace(MODEL=SimpleNamespace(SEM_SEG_HEAD=head))
    channels = {4: 8, 8: 12, 16: 16, 32: 20}
    shapes = {
        f"res{level}": SimpleNamespace(channels=width, stride=stride)
        for level, (stride, width) in enumerate(channels.items(), start=2)
    }
    torch.manual_seed(0)
    decoder = registry["SegblocksPixelDecoder"](cfg, shapes)
    images = {
        name: torch.randn(2, spec.channels, 64 // spec.stride, 96 // spec.stride)
        for name, spec in shapes.items()
    }
    mask_features, coarsest, levels = decoder.forward_features(images)
    assert mask_features.shape == (2, 32, 16, 24)
    assert coarsest is levels[0]
    assert [tuple(level.shape[-2:]) for level in levels] == [(2, 3), (4, 6), (8, 12)]

    alone = TemporalNeck(channels, 32, num_layers=1, cells=None)
    alone.load_state_dict(decoder.neck.state_dict())
    video = {spec.stride: images[name][:, None] for name, spec in shapes.items()}
    torch.testing.assert_close(mask_features, alone(video)[4][:, 0])
