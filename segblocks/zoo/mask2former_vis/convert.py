"""Checkpoints of Mask2Former, official or of Hugging Face, to ours, and ours to official ones."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from segblocks.zoo.backbone_keys import detect_backbone
from segblocks.zoo.checkpoint import CheckpointError
from segblocks.zoo.key_map import KeyMap, compare_state_dicts, meta_state_dict
from segblocks.zoo.mask2former_vis.config import Mask2FormerVISConfig
from segblocks.zoo.mask2former_vis.hugging_face_layout import HUGGING_FACE
from segblocks.zoo.mask2former_vis.layout import Layout
from segblocks.zoo.mask2former_vis.model import Mask2FormerVIS, usual_class_weights
from segblocks.zoo.mask2former_vis.official_layout import OFFICIAL

_NUM_HEADS = 8
_NUM_LEVELS = 3


class Mask2FormerVISSource:
    """Checkpoints of ``facebookresearch/Mask2Former``, of videos or images, and of Hugging Face.

    Files of images have the same entries, for other classes as a rule; training on videos begins
    with them, see :func:`~segblocks.zoo.mask2former_vis.start_from`.
    """

    def convert(self, state_dict: Mapping[str, Tensor], weights: str = "student") -> dict:
        """Turn a state dict into that of :class:`Mask2FormerVIS`.

        Args:
            state_dict: what an official file holds under ``model``, or that of a
                ``Mask2FormerForUniversalSegmentation`` with a ResNet-50 or Swin, from the model or
                from a file.
            weights: "student"; the files hold no averaged weights.

        Returns:
            The state dict of the model with the backbone, sizes and number of classes found. Where
            the classes have no weights in the loss, they get the usual ones.

        Raises:
            CheckpointError: another model's, or entries missing, unexpected or misshapen.
            ValueError: another choice of ``weights``.
        """
        if weights != "student":
            raise ValueError(f"mask2former_vis: weights must be 'student', got {weights!r}")
        layout = _layout_of(state_dict)
        respelled = layout.respelled(state_dict)
        config = detect_config(respelled, layout)
        shapes = meta_state_dict(lambda: Mask2FormerVIS(config))
        key_map = KeyMap(layout.rules(config.backbone, config.decoder_layers))
        converted = key_map.convert(respelled, shapes)
        if "class_weights" not in converted:
            converted["class_weights"] = usual_class_weights(len(config.vocabulary))
        return converted

    def export(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Turn our state dict into the official one, less the constants of a Swin.

        Raises:
            CheckpointError: it is not that of a Mask2Former-VIS.
        """
        swin = any(name.startswith("backbone.norms.") for name in state_dict)
        steps = [int(n.split(".")[2]) for n in state_dict if n.startswith("decoder.blocks.")]
        rules = OFFICIAL.rules("swin" if swin else "resnet50", max(steps, default=0) // 3)
        exported = KeyMap(rules).export(state_dict)
        config = detect_config(exported, OFFICIAL)
        compare_state_dicts(state_dict, meta_state_dict(lambda: Mask2FormerVIS(config)))
        return exported

    def advice(self, state_dict: Mapping[str, Tensor]) -> str | None:
        """Say which model a state dict is for, or None where it is none."""
        layout = _layout_of(state_dict)
        try:
            config = detect_config(layout.respelled(state_dict), layout)
        except CheckpointError:
            return None
        return (
            f"this is a file for mask2former_vis_{config.backbone} with "
            f"num_queries={config.num_queries} and a vocabulary of {len(config.vocabulary)} "
            "classes; segblocks.zoo.mask2former_vis.start_from takes it for other classes"
        )


def detect_config(state_dict: Mapping[str, Tensor], layout: Layout) -> Mask2FormerVISConfig:
    """Read the backbone, all sizes and the number of classes off a state dict.

    Args:
        state_dict: with the names of ``layout`` in their one spelling.
        layout: of the state dict.

    Returns:
        A config whose classes have numbers for names. The number of heads, which leaves no trace in
        the weights, is 8.

    Raises:
        CheckpointError: it is no Mask2Former.
    """
    names = layout.sizes()
    missing = [name for name in names.values() if name not in state_dict]
    if missing:
        raise CheckpointError(
            f"this is not a Mask2Former checkpoint: it has no {missing[0]!r}, "
            f"and begins with {list(state_dict)[:3]}"
        )
    found = {size: state_dict[name].shape for size, name in names.items()}
    return Mask2FormerVISConfig(
        backbone=detect_backbone(
            state_dict, layout.backbone, stem=layout.stem, patches=layout.patches
        ),
        vocabulary=tuple(f"class {k}" for k in range(found["classes"][0] - 1)),
        num_queries=found["queries"][0],
        embed_dim=found["queries"][-1],
        num_heads=_NUM_HEADS,
        neck_layers=_count(state_dict, layout.neck_layers),
        neck_hidden_dim=found["neck"][0],
        num_points=found["offsets"][0] // (2 * _NUM_HEADS * _NUM_LEVELS),
        decoder_layers=_count(state_dict, layout.decoder_layers),
        decoder_hidden_dim=found["decoder"][0],
    )


def _layout_of(state_dict: Mapping[str, Tensor]) -> Layout:
    hugging_face = any(name.startswith(HUGGING_FACE.backbone) for name in state_dict)
    return HUGGING_FACE if hugging_face else OFFICIAL


def _count(state_dict: Mapping[str, Tensor], prefix: str) -> int:
    """How many layers there are under a prefix."""
    return len({n[len(prefix) :].split(".")[0] for n in state_dict if n.startswith(prefix)})
