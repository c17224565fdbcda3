"""The names of ``facebookresearch/Mask2Former``, for images and videos alike."""

from __future__ import annotations

from segblocks.zoo.backbone_keys import resnet50_rules, swin_rules
from segblocks.zoo.key_rules import Drop, Rename, Rule
from segblocks.zoo.mask2former_keys import LEAF, decoder_layer_rules, neck_rules
from segblocks.zoo.mask2former_vis.layout import Layout

NECK = "sem_seg_head.pixel_decoder."
PREDICTOR = "sem_seg_head.predictor."
PREDICT = "decoder.blocks.0."


def rules(backbone: str, num_layers: int) -> list[Rule | Drop]:
    """The key table of a model with this backbone and so many decoder layers."""
    backbone_rules = resnet50_rules if backbone == "resnet50" else swin_rules
    return [
        *backbone_rules("backbone.", "backbone."),
        *neck_rules(NECK),
        *decoder_layer_rules(PREDICTOR, num_layers),
        Rename(f"{PREDICTOR}query_feat.weight", "query_content"),
        Rename(f"{PREDICTOR}query_embed.weight", "query_position"),
        Rename(f"{PREDICTOR}level_embed.weight", "decoder.level_embedding"),
        Rename(f"{PREDICTOR}decoder_norm.{{leaf}}", f"{PREDICT}norm.{LEAF}"),
        Rename(f"{PREDICTOR}class_embed.{{leaf}}", f"{PREDICT}class_head.linear.{LEAF}"),
        *(
            Rename(
                f"{PREDICTOR}mask_embed.layers.{layer}.{{leaf}}",
                f"{PREDICT}mask_head.embedding.{2 * layer}.{LEAF}",
            )
            for layer in range(3)
        ),
        Rename("criterion.empty_weight", "class_weights", optional=True),
    ]


def spell(name: str) -> str:
    """The name that the code has had for its queries since they are learned."""
    return name.replace(f"{PREDICTOR}static_query.", f"{PREDICTOR}query_feat.")


OFFICIAL = Layout(
    name="official",
    backbone="backbone.",
    stem="stem.conv1.weight",
    patches="patch_embed.proj.weight",
    neck_layers=f"{NECK}transformer.encoder.layers.",
    neck_hidden="linear1.bias",
    decoder_layers=f"{PREDICTOR}transformer_ffn_layers.",
    decoder_hidden="linear1.bias",
    queries=f"{PREDICTOR}query_feat.weight",
    classes=f"{PREDICTOR}class_embed.bias",
    rules=rules,
    spell=spell,
)
