"""An endless, seeded world of made-up videos with exact truth for every task."""

from segblocks.data.synthetic.config import PRESETS, WorldConfig, world_config
from segblocks.data.synthetic.expressions import expression_kind
from segblocks.data.synthetic.held_out import HELD_OUT_SEED, open_held_out
from segblocks.data.synthetic.world import SyntheticWorld
from segblocks.data.synthetic.write import write_world

__all__ = [
    "HELD_OUT_SEED",
    "PRESETS",
    "SyntheticWorld",
    "WorldConfig",
    "expression_kind",
    "open_held_out",
    "world_config",
    "write_world",
]
