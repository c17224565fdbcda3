"""Mask2Former-VIS: video instance segmentation by masked attention over a whole video."""

from segblocks.zoo.mask2former_vis.config import Mask2FormerVISConfig
from segblocks.zoo.mask2former_vis.convert import Mask2FormerVISSource
from segblocks.zoo.mask2former_vis.model import Mask2FormerVIS
from segblocks.zoo.mask2former_vis.nano import MASK2FORMER_VIS_NANO
from segblocks.zoo.mask2former_vis.policy import Mask2FormerVISPolicy
from segblocks.zoo.mask2former_vis.start import start_from
from segblocks.zoo.registry import SHIPPED_WEIGHTS, register_model
from segblocks.zoo.sources import register_source

register_source("mask2former_vis", Mask2FormerVISSource())
for _config, _parameters in {
    Mask2FormerVISConfig(): "44 M",
    Mask2FormerVISConfig(backbone="swin_tiny", short_side=480): "47 M",
    Mask2FormerVISConfig(backbone="swin_base", short_side=480): "107 M",
    Mask2FormerVISConfig(backbone="swin_large", num_queries=200, short_side=480): "216 M",
}.items():
    register_model(
        f"mask2former_vis_{_config.backbone}",
        _config,
        Mask2FormerVIS,
        description=f"Mask2Former-VIS, {_config.backbone}, {_parameters} parameters: VIS",
        source="mask2former_vis",
    )
register_model(
    "mask2former_vis_nano",
    MASK2FORMER_VIS_NANO,
    Mask2FormerVIS,
    description="Mask2Former-VIS, EfficientNet-Lite0: VIS on a CPU",
    default_checkpoint=SHIPPED_WEIGHTS / "mask2former_vis_nano",
)

__all__ = [
    "Mask2FormerVIS",
    "Mask2FormerVISConfig",
    "Mask2FormerVISPolicy",
    "start_from",
]
