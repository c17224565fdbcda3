"""TMT-VIS: video instance segmentation trained on several datasets with one taxonomy."""

from segblocks.zoo.registry import SHIPPED_WEIGHTS, register_model
from segblocks.zoo.tmt_vis.config import TMTVISConfig
from segblocks.zoo.tmt_vis.model import TMTVIS, TaxonomyOutput
from segblocks.zoo.tmt_vis.nano import TMT_VIS_NANO
from segblocks.zoo.tmt_vis.start import start_from

for _config, _parameters in {
    TMTVISConfig(): "59 M",
    TMTVISConfig(backbone="swin_large", num_queries=200, short_side=480): "231 M",
}.items():
    register_model(
        f"tmt_vis_{_config.backbone}",
        _config,
        TMTVIS,
        description=f"TMT-VIS, {_config.backbone}, {_parameters} parameters: VIS",
    )
register_model(
    "tmt_vis_nano",
    TMT_VIS_NANO,
    TMTVIS,
    description="TMT-VIS, EfficientNet-Lite0: VIS on a CPU",
    default_checkpoint=SHIPPED_WEIGHTS / "tmt_vis_nano",
)

__all__ = [
    "TMTVIS",
    "TMTVISConfig",
    "TaxonomyOutput",
    "start_from",
]
