"""TarViS: VIS, VPS, VOS and point-guided tracking by one network."""

from segblocks.zoo.registry import SHIPPED_WEIGHTS, register_model
from segblocks.zoo.sources import register_source
from segblocks.zoo.tarvis.config import (
    FINETUNE_VOCABULARIES,
    PRETRAIN_VOCABULARIES,
    TarViSConfig,
)
from segblocks.zoo.tarvis.convert import TarViSSource
from segblocks.zoo.tarvis.model import TarViS
from segblocks.zoo.tarvis.policy import TarViSPolicy

register_source("tarvis", TarViSSource())
for _backbone, _parameters in {
    "resnet50": "57 M",
    "swin_tiny": "60 M",
    "swin_large": "229 M",
}.items():
    register_model(
        f"tarvis_{_backbone}",
        TarViSConfig(backbone=_backbone),
        TarViS,
        description=f"TarViS, {_backbone}, {_parameters} parameters: VIS, VPS, VOS, PET",
        source="tarvis",
    )

# Slim enough for a CPU: 5.0 M parameters, of which 2.9 M are the backbone's.
TARVIS_NANO = TarViSConfig(
    backbone="tf_efficientnet_lite0",
    vocabularies=("synthetic", "coco_panoptic"),
    embed_dim=96,
    num_heads=6,
    neck_layers=2,
    neck_hidden_dim=384,
    decoder_layers=6,
    decoder_hidden_dim=384,
    encoder_layers=2,
    encoder_hidden_dim=384,
    num_instance_queries=40,
    max_points=(None, None),
    size_multiple=32,
    short_side=256,
    clip_length=20,
    propagation=0.75,
    pixel_mean=(127.0, 127.0, 127.0),
    pixel_std=(128.0, 128.0, 128.0),
)
register_model(
    "tarvis_nano",
    TARVIS_NANO,
    TarViS,
    description="TarViS, EfficientNet-Lite0: VIS, VPS, VOS, PET on a CPU",
    default_checkpoint=SHIPPED_WEIGHTS / "tarvis_nano",
)

__all__ = [
    "FINETUNE_VOCABULARIES",
    "PRETRAIN_VOCABULARIES",
    "TarViS",
    "TarViSConfig",
    "TarViSPolicy",
]
