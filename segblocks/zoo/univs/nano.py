"""A UniVS that is slim enough for a CPU."""

from __future__ import annotations

from segblocks.zoo.mask2former_vis.nano import NANO_SIZES
from segblocks.zoo.univs.config import UniVSConfig

# 4.6 M parameters, of which 2.9 M are the backbone's; the sentence encoder is not among them.
# Longer clips than the official ones drift less where masks are not exact.
UNIVS_NANO = UniVSConfig(
    text_encoder="minilm",
    text_templates="photo",
    text_dim=384,
    clip_length=10,
    overlap=5,
    propagation=0.75,
    **NANO_SIZES,
)
