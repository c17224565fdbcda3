"""The names of ``Mask2FormerForUniversalSegmentation`` of Hugging Face."""

from __future__ import annotations

import re

from segblocks.zoo.clip_model import MASK_STRIDE, STRIDES
from segblocks.zoo.key_rules import Drop, Join, Rename, Rule, packed_attention
from segblocks.zoo.mask2former_keys import LEAF, sampling_attention
from segblocks.zoo.mask2former_vis.layout import Layout

BACKBONE = "model.pixel_level_module.encoder."
NECK = "model.pixel_level_module.decoder."
DECODER = "model.transformer_module."
PREDICT = "decoder.blocks.0."
_BACKBONE_STRIDES = (4, 8, 16, 32)
_FROZEN_NORM = "{leaf:weight|bias|running_mean|running_var}"

# Files have the first spelling, models of recent versions of the library the second.
_SPELLINGS = {
    r"\.attention\.self\.query\.": ".attention.q_proj.",
    r"\.attention\.self\.key\.": ".attention.k_proj.",
    r"\.attention\.self\.value\.": ".attention.v_proj.",
    r"\.attention\.self\.(relative_position_bias_table)": r".attention.relative_position_bias.\1",
    r"\.attention\.self\.(relative_position_index)": r".attention.relative_position_bias.\1",
    r"\.attention\.output\.dense\.": ".attention.o_proj.",
    r"\.intermediate\.dense\.": ".mlp.fc1.",
    r"\.output\.dense\.": ".mlp.fc2.",
    rf"^{re.escape(BACKBONE)}(encoder\.layers|embeddings|layernorm)\.": rf"{BACKBONE}swin.\1.",
}


def rules(backbone: str, num_layers: int) -> list[Rule | Drop]:
    """The key table of a model with this backbone and so many decoder layers."""
    return [
        *(_resnet_rules() if backbone == "resnet50" else _swin_rules()),
        *_neck_rules(),
        *(rule for layer in range(num_layers) for rule in _layer_rules(layer)),
        Rename(f"{DECODER}queries_features.weight", "query_content"),
        Rename(f"{DECODER}queries_embedder.weight", "query_position"),
        Rename(f"{DECODER}level_embed.weight", "decoder.level_embedding"),
        Rename(f"{DECODER}decoder.layernorm.{{leaf}}", f"{PREDICT}norm.{LEAF}"),
        Rename("class_predictor.{leaf}", f"{PREDICT}class_head.linear.{LEAF}"),
        *(
            Rename(
                f"{DECODER}decoder.mask_predictor.mask_embedder.{layer}.0.{{leaf}}",
                f"{PREDICT}mask_head.embedding.{2 * layer}.{LEAF}",
            )
            for layer in range(3)
        ),
        Rename("criterion.empty_weight", "class_weights", optional=True),
    ]


def spell(name: str) -> str:
    """The name as models of recent versions have it."""
    for pattern, spelling in _SPELLINGS.items():
        name = re.sub(pattern, spelling, name)
    return name


HUGGING_FACE = Layout(
    name="Hugging Face",
    backbone=BACKBONE,
    stem="embedder.embedder.convolution.weight",
    patches="swin.embeddings.patch_embeddings.projection.weight",
    neck_layers=f"{NECK}encoder.layers.",
    neck_hidden="fc1.bias",
    decoder_layers=f"{DECODER}decoder.layers.",
    decoder_hidden="fc1.bias",
    queries=f"{DECODER}queries_features.weight",
    classes="class_predictor.bias",
    rules=rules,
    spell=spell,
)


def _resnet_rules() -> list[Rule | Drop]:
    net, stem = "backbone.net.", f"{BACKBONE}embedder.embedder."
    convolutions = {f"{stem}convolution": f"{net}conv1"}
    norms = {f"{stem}normalization": f"{net}bn1"}
    for stage in range(4):
        theirs, ours = (
            f"{BACKBONE}encoder.stages.{stage}.layers.{{b}}",
            f"{net}layer{stage + 1}.{{b}}",
        )
        convolutions[f"{theirs}.shortcut.convolution"] = f"{ours}.downsample.0"
        norms[f"{theirs}.shortcut.normalization"] = f"{ours}.downsample.1"
        for k in range(3):
            convolutions[f"{theirs}.layer.{k}.convolution"] = f"{ours}.conv{k + 1}"
            norms[f"{theirs}.layer.{k}.normalization"] = f"{ours}.bn{k + 1}"
    return [
        Drop(f"{BACKBONE}{{rest}}.num_batches_tracked"),
        *(Rename(f"{a}.weight", f"{b}.weight") for a, b in convolutions.items()),
        *(Rename(f"{a}.{{leaf}}", f"{b}.{_FROZEN_NORM}") for a, b in norms.items()),
    ]


def _swin_rules() -> list[Rule | Drop]:
    swin, net = f"{BACKBONE}swin.", "backbone.net."
    theirs, ours = f"{swin}encoder.layers.{{i}}.blocks.{{j}}", f"{net}layers_{{i}}.blocks.{{j}}"
    bias = "relative_position_bias_table"
    names = {
        "layernorm_before": "norm1",
        "layernorm_after": "norm2",
        "attention.o_proj": "attn.proj",
        "mlp.fc1": "mlp.fc1",
        "mlp.fc2": "mlp.fc2",
    }
    table: list[Rule | Drop] = [
        # The library norms the last level once more, for the classification of images.
        Drop(f"{swin}layernorm.{{rest}}"),
        Drop(f"{theirs}.attention.relative_position_bias.relative_position_index"),
        Rename(f"{swin}embeddings.norm.{{leaf}}", f"{net}patch_embed.norm.{LEAF}"),
        Rename(
            f"{swin}embeddings.patch_embeddings.projection.{{leaf}}",
            f"{net}patch_embed.proj.{LEAF}",
        ),
        Rename(f"{theirs}.attention.relative_position_bias.{bias}", f"{ours}.attn.{bias}"),
        Join(
            [f"{theirs}.attention.{part}_proj.{{leaf}}" for part in "qkv"],
            f"{ours}.attn.qkv.{LEAF}",
        ),
        *(Rename(f"{theirs}.{a}.{{leaf}}", f"{ours}.{b}.{LEAF}") for a, b in names.items()),
    ]
    for stage, stride in enumerate(_BACKBONE_STRIDES):
        table += [
            Rename(
                f"{swin}encoder.layers.{stage}.downsample.{{rest}}",
                f"{net}layers_{stage + 1}.downsample.{{rest}}",
            ),
            Rename(
                f"{BACKBONE}hidden_states_norms.stage{stage + 1}.{{leaf}}",
                f"backbone.norms.{stride}.{LEAF}",
            ),
        ]
    return table


def _neck_rules() -> list[Rule]:
    theirs, ours = f"{NECK}encoder.layers.{{i}}", "neck.deformable_layers.{i}"
    names = {
        f"{NECK}mask_projection": "neck.mask_projection",
        f"{NECK}adapter_1.{{k}}": f"neck.laterals.{MASK_STRIDE}.{{k}}",
        f"{NECK}layer_1.{{k}}": f"neck.smoothers.{MASK_STRIDE}.{{k}}",
        f"{theirs}.self_attn_layer_norm": f"{ours}.norm",
        f"{theirs}.fc1": f"{ours}.feed_forward.layers.0",
        f"{theirs}.fc2": f"{ours}.feed_forward.layers.2",
        f"{theirs}.final_layer_norm": f"{ours}.feed_forward.norm",
    }
    for level, stride in enumerate(STRIDES):
        names[f"{NECK}input_projections.{level}.{{k}}"] = f"neck.input_projections.{stride}.{{k}}"
    return [
        Rename(f"{NECK}level_embed", "neck.level_embedding"),
        *sampling_attention(f"{theirs}.self_attn", f"{ours}.attention"),
        *(Rename(f"{a}.{{leaf}}", f"{b}.{LEAF}") for a, b in names.items()),
    ]


def _layer_rules(layer: int) -> list[Rule]:
    theirs = f"{DECODER}decoder.layers.{layer}"
    cross, self_, block = (f"decoder.blocks.{3 * layer + k}" for k in (1, 2, 3))
    names = {
        f"{theirs}.cross_attn_layer_norm": f"{cross}.norm",
        f"{theirs}.self_attn.q_proj": f"{self_}.attention.query",
        f"{theirs}.self_attn.k_proj": f"{self_}.attention.key",
        f"{theirs}.self_attn.v_proj": f"{self_}.attention.value",
        f"{theirs}.self_attn.out_proj": f"{self_}.attention.output",
        f"{theirs}.self_attn_layer_norm": f"{self_}.norm",
        f"{theirs}.fc1": f"{block}.block.layers.0",
        f"{theirs}.fc2": f"{block}.block.layers.2",
        f"{theirs}.final_layer_norm": f"{block}.block.norm",
    }
    return [
        *packed_attention(f"{theirs}.cross_attn", f"{cross}.attention"),
        *(Rename(f"{a}.{{leaf}}", f"{b}.{LEAF}") for a, b in names.items()),
    ]
