"""TarViS: VIS, VPS, VOS and point-guided tracking by one network."""

from segblocks.zoo.registry import register_model
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

__all__ = [
    "FINETUNE_VOCABULARIES",
    "PRETRAIN_VOCABULARIES",
    "TarViS",
    "TarViSConfig",
    "TarViSPolicy",
]
