"""UniVS: prompts as queries, for six tasks and any vocabulary."""

from segblocks.zoo.registry import SHIPPED_WEIGHTS, register_model
from segblocks.zoo.sources import register_source
from segblocks.zoo.univs.config import UniVSConfig
from segblocks.zoo.univs.convert import UniVSSource
from segblocks.zoo.univs.expressions import ExpressionFeatures
from segblocks.zoo.univs.model import UniVS
from segblocks.zoo.univs.nano import UNIVS_NANO
from segblocks.zoo.univs.policy import UniVSPolicy
from segblocks.zoo.univs.start import start_from
from segblocks.zoo.univs.text import UniVSText
from segblocks.zoo.univs.training import UniVSOutput

register_source("univs", UniVSSource())
for _backbone, _parameters in {
    "resnet50": "47 M",
    "swin_tiny": "50 M",
    "swin_base": "110 M",
    "swin_large": "218 M",
}.items():
    register_model(
        f"univs_{_backbone}",
        UniVSConfig(backbone=_backbone),
        UniVS,
        description=(
            f"UniVS, {_backbone}, {_parameters} parameters: VIS, VPS, VSS, VOS, PVOS, PET, EVS, "
            "RefVOS"
        ),
        source="univs",
    )
register_model(
    "univs_nano",
    UNIVS_NANO,
    UniVS,
    description="UniVS, EfficientNet-Lite0: VIS, VPS, VSS, VOS, PVOS, PET, EVS, RefVOS on a CPU",
    default_checkpoint=SHIPPED_WEIGHTS / "univs_nano",
)

__all__ = [
    "ExpressionFeatures",
    "UniVS",
    "UniVSConfig",
    "UniVSOutput",
    "UniVSPolicy",
    "UniVSSource",
    "UniVSText",
    "start_from",
]
