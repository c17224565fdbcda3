"""A Mask2Former-VIS that is slim enough for a CPU."""

from __future__ import annotations

from typing import Any

from segblocks.text.vocabulary import get_vocabulary
from segblocks.zoo.mask2former_vis.config import Mask2FormerVISConfig

NANO_SIZES: dict[str, Any] = {
    "backbone": "tf_efficientnet_lite0",
    "num_queries": 40,
    "embed_dim": 96,
    "num_heads": 6,
    "neck_layers": 2,
    "neck_hidden_dim": 384,
    "decoder_layers": 6,
    "decoder_hidden_dim": 384,
    "short_side": 256,
    "pixel_mean": (127.0, 127.0, 127.0),
    "pixel_std": (128.0, 128.0, 128.0),
}
"""Fields of a config: those of ``tarvis_nano``, as far as there are the same parts."""

_CLASSES = (*get_vocabulary("synthetic").classes, *get_vocabulary("coco_panoptic").classes)

# 4.2 M parameters, of which 2.9 M are the backbone's. Classes of one name are one class.
MASK2FORMER_VIS_NANO = Mask2FormerVISConfig(vocabulary=tuple(dict.fromkeys(_CLASSES)), **NANO_SIZES)
