"""An endless, seeded world of made-up videos with exact truth for every task."""

from segblocks.data.synthetic.config import PRESETS, WorldConfig, world_config
from segblocks.data.synthetic.expressions import expression_kind
from segblocks.data.synthetic.world import SyntheticWorld
from segblocks.data.synthetic.write import write_world

__all__ = [
    "PRESETS",
    "SyntheticWorld",
    "WorldConfig",
    "expression_kind",
    "world_config",
    "write_world",
]
