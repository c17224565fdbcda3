"""Official TarViS checkpoints to and from ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from segblocks.zoo.backbone_keys import detect_backbone, resnet50_rules, swin_rules
from segblocks.zoo.checkpoint import CheckpointError
from segblocks.zoo.clip_model import MASK_STRIDE, STRIDES
from segblocks.zoo.key_map import KeyMap, compare_state_dicts, meta_state_dict
from segblocks.zoo.key_rules import Drop, Rename, Rule, Split, packed_attention
from segblocks.zoo.mask2former_keys import (
    LEAF,
    decoder_layer_rules,
    feed_forward,
    neck_rules,
)
from segblocks.zoo.tarvis.config import (
    FINETUNE_VOCABULARIES,
    PRETRAIN_VOCABULARIES,
    TarViSConfig,
)
from segblocks.zoo.tarvis.model import MASK_HEADS, TarViS
from segblocks.zoo.tarvis.queries import GROUPS

BACKBONE = "backbone.backbone."
SEMANTIC = "embedding_container._semantic_queries"
VOCABULARIES_BY_ROWS = {228: FINETUNE_VOCABULARIES, 383: PRETRAIN_VOCABULARIES}
OFFICIAL_GROUPS = {"object": "vos", "object_background": "background_vos"}


class TarViSSource:
    """Checkpoints of the official code, ``Ali2500/TarViS``, of both training stages."""

    def convert(self, state_dict: Mapping[str, Tensor], weights: str = "student") -> dict:
        """Turn an official state dict into that of :class:`TarViS`.

        Args:
            state_dict: what the file holds under ``model``.
            weights: "student"; the official files hold no averaged weights.

        Returns:
            The state dict of the model with the backbone and the vocabularies found.

        Raises:
            CheckpointError: another model's, or entries missing, unexpected or misshapen.
            ValueError: another choice of ``weights``.
        """
        if weights != "student":
            raise ValueError(f"tarvis: weights must be 'student', got {weights!r}")
        config = detect_config(state_dict)
        shapes = meta_state_dict(lambda: TarViS(config))
        return key_map(config.backbone).convert(state_dict, shapes)

    def export(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Turn our state dict into the official one, less its constant buffers.

        Raises:
            CheckpointError: it is not that of a published TarViS.
        """
        swin = any(name.startswith("backbone.norms.") for name in state_dict)
        exported = key_map("swin" if swin else "resnet50").export(state_dict)
        config = detect_config(exported)
        compare_state_dicts(state_dict, meta_state_dict(lambda: TarViS(config)))
        return exported

    def advice(self, state_dict: Mapping[str, Tensor]) -> str | None:
        """Say which model an official state dict is for, or None where it is none."""
        try:
            config = detect_config(state_dict)
        except CheckpointError:
            return None
        stage = "FINETUNE" if config.vocabularies == FINETUNE_VOCABULARIES else "PRETRAIN"
        return (
            f"this is a file for tarvis_{config.backbone} with vocabularies={stage}_VOCABULARIES "
            "of segblocks.zoo.tarvis"
        )


def detect_config(state_dict: Mapping[str, Tensor]) -> TarViSConfig:
    """Read the backbone and the vocabularies off an official state dict.

    Raises:
        CheckpointError: it is not one.
    """
    if SEMANTIC not in state_dict:
        raise CheckpointError(
            f"this is not an official TarViS checkpoint: it has no {SEMANTIC!r}, "
            f"and begins with {list(state_dict)[:3]}"
        )
    rows = len(state_dict[SEMANTIC])
    if rows not in VOCABULARIES_BY_ROWS:
        raise CheckpointError(
            f"{SEMANTIC} must have {' or '.join(map(str, VOCABULARIES_BY_ROWS))} rows, "
            f"the finetune or the pretrain vocabularies and a type embedding; got {rows}"
        )
    return TarViSConfig(
        backbone=detect_backbone(state_dict, BACKBONE), vocabularies=VOCABULARIES_BY_ROWS[rows]
    )


def key_map(backbone: str) -> KeyMap:
    """The table of all entries, for one kind of backbone."""
    backbone_rules = resnet50_rules if backbone == "resnet50" else swin_rules
    return KeyMap(
        [
            Rename("pixel_{rest}", "pixel_{rest}"),
            *backbone_rules(BACKBONE, "backbone."),
            *_neck_rules(),
            *_query_rules(),
            *_decoder_rules(TarViSConfig().decoder_layers),
            *_object_encoder_rules(),
        ]
    )


def _neck_rules() -> list[Rule | Drop]:
    fpn = "backbone.fpn."
    source = f"{fpn}transformer.encoder.temporal_layers.{{i}}"
    target = "neck.temporal_layers.{i}"
    return [
        *neck_rules(fpn),
        Rename(f"{fpn}transformer.level_embed_3d", "neck.temporal_level_embedding"),
        *packed_attention(f"{source}.self_attn", f"{target}.attention"),
        Rename(f"{source}.norm1.{{leaf}}", f"{target}.norm.{LEAF}"),
        *feed_forward(
            (f"{source}.linear1", f"{source}.linear2", f"{source}.norm2"), f"{target}.feed_forward"
        ),
    ]


def _query_rules() -> list[Rule | Drop]:
    rules: list[Rule | Drop] = [Rename("embedding_container._vos_queries", "queries.types.object")]
    for group in GROUPS:
        if group != "object":
            source = f"embedding_container._{OFFICIAL_GROUPS.get(group, group)}_queries"
            rules.append(Split(source, [f"queries.types.{group}", f"queries.{group}"]))
    return rules


def _decoder_rules(num_layers: int) -> list[Rule | Drop]:
    predict = "decoder.blocks.0"
    rules: list[Rule | Drop] = [
        Rename("decoder.scale_embed.weight", "decoder.level_embedding"),
        Rename("decoder.decoder_norm.{leaf}", f"{predict}.norm.{LEAF}"),
    ]
    for group in MASK_HEADS:
        theirs = OFFICIAL_GROUPS.get(group, group)
        for layer in range(3):
            source = f"decoder.mask_embeds.{theirs}.layers.{layer}.{{leaf}}"
            target = f"{predict}.mask_head.embeddings.{group}.{2 * layer}.{LEAF}"
            rules.append(Rename(source, target))
        if group in GROUPS:
            source = f"decoder.proj_layers.{theirs}.{{leaf}}"
            rules.append(Rename(source, f"{predict}.class_head.projections.{group}.{LEAF}"))
    rules += decoder_layer_rules("decoder.", num_layers, wrapped="._attn")
    return rules


def _object_encoder_rules() -> list[Rule | Drop]:
    source, target = "vos_query_extractor.", "object_encoder."
    rules: list[Rule | Drop] = [
        Drop(f"{source}bg_grid_size"),
        Rename(f"{source}bg_query_embed", f"{target}background_type"),
        Rename(f"{source}mask_object_query_embed", f"{target}mask_type"),
        Rename(f"{source}point_object_query_embed", f"{target}point_type"),
        Rename(
            f"{source}point_vos_query_extractor.layers.{{k}}.{{leaf}}",
            f"{target}point_query.{{k}}.{LEAF}",
        ),
    ]
    for level, stride in enumerate((*STRIDES, MASK_STRIDE)):
        ours = f"{target}point_tokens.{stride}.{LEAF}"
        rules.append(Rename(f"{source}proj_point_features.{level}.{{leaf}}", ours))
    for theirs, ours in {"self_attn": "self", "cross_attn": "cross"}.items():
        layer = f"{source}{theirs}_layers.{{i}}"
        rules += packed_attention(f"{layer}.attn", f"{target}layers.{{i}}.{ours}_attention")
        norm = f"{target}layers.{{i}}.{ours}_norm.{LEAF}"
        rules.append(Rename(f"{layer}.norm.{{leaf}}", norm))
    layer = f"{source}ffn_layers.{{i}}"
    rules += feed_forward(
        (f"{layer}.mlp.0", f"{layer}.mlp.2", f"{layer}.norm"), f"{target}layers.{{i}}.feed_forward"
    )
    return rules
