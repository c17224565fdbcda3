"""GvSeg: video segmentation by task, with the shape and the position of objects."""

from segblocks.zoo.gvseg.config import GvSegConfig
from segblocks.zoo.gvseg.model import GvSeg
from segblocks.zoo.gvseg.nano import GVSEG_NANO
from segblocks.zoo.gvseg.output import GvSegOutput
from segblocks.zoo.gvseg.policy import GvSegPolicy
from segblocks.zoo.gvseg.start import start_from
from segblocks.zoo.registry import SHIPPED_WEIGHTS, register_model

for _config, _parameters in {
    GvSegConfig(): "46 M",
    GvSegConfig(backbone="swin_base"): "109 M",
    GvSegConfig(backbone="swin_large", num_queries=200): "217 M",
}.items():
    register_model(
        f"gvseg_{_config.backbone}",
        _config,
        GvSeg,
        description=f"GvSeg, {_config.backbone}, {_parameters} parameters: "
        "VIS, VPS, VSS, VOS, PET, EVS",
    )

register_model(
    "gvseg_nano",
    GVSEG_NANO,
    GvSeg,
    description="GvSeg, EfficientNet-Lite0: VIS, VPS, VSS, VOS, PET, EVS on a CPU",
    default_checkpoint=SHIPPED_WEIGHTS / "gvseg_nano",
)

__all__ = [
    "GVSEG_NANO",
    "GvSeg",
    "GvSegConfig",
    "GvSegOutput",
    "GvSegPolicy",
    "start_from",
]
