"""Whole models: by name, from checkpoints of the published implementations, from the hub."""

from __future__ import annotations

from segblocks.zoo.checkpoint import CheckpointError, load_checkpoint
from segblocks.zoo.gvseg import GvSeg, GvSegConfig
from segblocks.zoo.hub import PretrainedModel
from segblocks.zoo.mask2former_vis import Mask2FormerVIS, Mask2FormerVISConfig
from segblocks.zoo.registry import create_model, from_pretrained, list_models, register_model
from segblocks.zoo.sources import convert_state_dict, export_state_dict, register_source
from segblocks.zoo.tarvis import TarViS, TarViSConfig
from segblocks.zoo.tmt_vis import TMTVIS, TMTVISConfig
from segblocks.zoo.univs import UniVS, UniVSConfig

__all__ = [
    "TMTVIS",
    "CheckpointError",
    "GvSeg",
    "GvSegConfig",
    "Mask2FormerVIS",
    "Mask2FormerVISConfig",
    "PretrainedModel",
    "TMTVISConfig",
    "TarViS",
    "TarViSConfig",
    "UniVS",
    "UniVSConfig",
    "convert_state_dict",
    "create_model",
    "export_state_dict",
    "from_pretrained",
    "list_models",
    "load_checkpoint",
    "register_model",
    "register_source",
]
