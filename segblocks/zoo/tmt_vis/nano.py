"""A TMT-VIS that is slim enough for a CPU, for datasets whose classes overlap only in part."""

from __future__ import annotations

from segblocks.text.vocabulary import get_vocabulary
from segblocks.zoo.mask2former_vis.nano import NANO_SIZES
from segblocks.zoo.tmt_vis.config import TMTVISConfig

NANO_SHAPES = {
    "shapes_a": ("circle", "square", "triangle", "star", "heart", "flower"),
    "shapes_b": ("circle", "square", "ring", "cross", "hexagon", "crescent"),
    "shapes_c": ("circle", "star", "ring", "crescent", "bar", "arrow"),
}
"""Datasets of the synthetic world, and which of its things each of them names."""

_WORLD = get_vocabulary("synthetic")
_GROUND = tuple(_WORLD.classes[index] for index in _WORLD.stuff_ids)

# 5.2 M parameters, of which 2.9 M are the backbone's. All things of the world are in some dataset.
TMT_VIS_NANO = TMTVISConfig(
    vocabularies=(
        *((name, (*own, *_GROUND), tuple(range(len(own)))) for name, own in NANO_SHAPES.items()),
        "coco_panoptic",
    ),
    text_encoder="minilm",
    text_dim=384,
    bottleneck_dim=96,
    **NANO_SIZES,
)
