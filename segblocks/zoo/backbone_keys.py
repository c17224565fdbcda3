"""Where the weights of published backbones go in :class:`~segblocks.nn.backbone.TimmBackbone`."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from segblocks.zoo.checkpoint import CheckpointError
from segblocks.zoo.key_rules import Drop, Rename, Rule

SWIN_BY_WIDTH = {96: "swin_tiny", 128: "swin_base", 192: "swin_large"}

_STRIDES = (4, 8, 16, 32)
_FROZEN_NORM = "{leaf:weight|bias|running_mean|running_var}"


def resnet50_rules(source: str = "backbone.", target: str = "backbone.") -> list[Rule | Drop]:
    """List the rules from detectron2's ResNet (50, 101, 152) with frozen batch norm.

    Args:
        source: Prefix of the source's names, as in ``<source>res2.0.conv1.weight``.
        target: Prefix of the :class:`TimmBackbone`, which must have ``frozen_batch_norm=True``.

    Returns:
        Rules for a :class:`~segblocks.zoo.key_map.KeyMap`.
    """
    net = f"{target}net."
    rules: list[Rule | Drop] = [
        Rename(f"{source}stem.conv1.weight", f"{net}conv1.weight"),
        Rename(f"{source}stem.conv1.norm.{{leaf}}", f"{net}bn1.{_FROZEN_NORM}"),
    ]
    for stage in range(1, 5):
        theirs, ours = f"{source}res{stage + 1}.{{b}}", f"{net}layer{stage}.{{b}}"
        rules += [
            Rename(f"{theirs}.conv{{k}}.weight", f"{ours}.conv{{k}}.weight"),
            Rename(f"{theirs}.conv{{k}}.norm.{{leaf}}", f"{ours}.bn{{k}}.{_FROZEN_NORM}"),
            Rename(f"{theirs}.shortcut.weight", f"{ours}.downsample.0.weight"),
            Rename(f"{theirs}.shortcut.norm.{{leaf}}", f"{ours}.downsample.1.{_FROZEN_NORM}"),
        ]
    return rules


def swin_rules(source: str = "backbone.", target: str = "backbone.") -> list[Rule | Drop]:
    """List the rules from the official Swin Transformer for dense prediction.

    Its down-sampling ends a stage and timm's begins the next; both put the four neighbours in the
    same order. Its relative position index is a constant, which timm computes.

    Args:
        source: Prefix of the source's names, as in ``<source>layers.0.blocks.0.norm1.weight``.
        target: Prefix of the :class:`TimmBackbone`, which must have ``output_norms=True``.

    Returns:
        Rules for a :class:`~segblocks.zoo.key_map.KeyMap`.
    """
    net = f"{target}net."
    rules: list[Rule | Drop] = [
        Drop(f"{source}layers.{{i}}.blocks.{{j}}.attn.relative_position_index"),
        Rename(f"{source}patch_embed.{{rest}}", f"{net}patch_embed.{{rest}}"),
        Rename(f"{source}layers.{{i}}.blocks.{{rest}}", f"{net}layers_{{i}}.blocks.{{rest}}"),
    ]
    for stage, stride in enumerate(_STRIDES):
        rules += [
            Rename(
                f"{source}layers.{stage}.downsample.{{rest}}",
                f"{net}layers_{stage + 1}.downsample.{{rest}}",
            ),
            Rename(f"{source}norm{stage}.{{leaf}}", f"{target}norms.{stride}.{{leaf:weight|bias}}"),
        ]
    return rules


def detect_backbone(
    state_dict: Mapping[str, Tensor],
    source: str = "backbone.",
    *,
    stem: str = "stem.conv1.weight",
    patches: str = "patch_embed.proj.weight",
) -> str:
    """Read off a state dict which backbone it holds.

    Args:
        state_dict: Of a published model.
        source: Prefix of the backbone's names.
        stem: Name of a ResNet's first convolution behind the prefix.
        patches: Name of a Swin's patch embedding behind the prefix.

    Returns:
        A name that :class:`TimmBackbone` knows.

    Raises:
        CheckpointError: It is neither a ResNet nor a Swin of a known width.
    """
    if f"{source}{stem}" in state_dict:
        return "resnet50"
    embedding = state_dict.get(f"{source}{patches}")
    width = None if embedding is None else len(embedding)
    if width not in SWIN_BY_WIDTH:
        raise CheckpointError(
            f"the backbone must be ResNet-50 or a Swin of width {list(SWIN_BY_WIDTH)}, "
            f"got {'neither' if width is None else f'width {width}'}"
        )
    return SWIN_BY_WIDTH[width]
