"""Where the weights of Mask2Former's pixel decoder and decoder layers go.

TarViS, UniVS and TMT-VIS took both over with their names, under other prefixes.
"""

from __future__ import annotations

from segblocks.zoo.clip_model import MASK_STRIDE, STRIDES
from segblocks.zoo.key_rules import Rename, Rule, packed_attention

LEAF = "{leaf:weight|bias}"


def neck_rules(source: str, target: str = "neck.") -> list[Rule]:
    """List the rules from ``MSDeformAttnPixelDecoder`` to :class:`~segblocks.nn.TemporalNeck`.

    Args:
        source: Prefix of the source's names, as in ``<source>input_proj.0.0.weight``.
        target: Prefix of the neck, whose temporal layers come from elsewhere.

    Returns:
        Rules for a :class:`~segblocks.zoo.key_map.KeyMap`.
    """
    layer = f"{source}transformer.encoder.layers.{{i}}"
    ours = f"{target}deformable_layers.{{i}}"
    rules: list[Rule] = [
        Rename(f"{source}transformer.level_embed", f"{target}level_embedding"),
        Rename(f"{source}mask_features.{{leaf}}", f"{target}mask_projection.{LEAF}"),
        *conv_and_norm(f"{source}adapter_1", f"{target}laterals.{MASK_STRIDE}"),
        *conv_and_norm(f"{source}layer_1", f"{target}smoothers.{MASK_STRIDE}"),
        *sampling_attention(f"{layer}.self_attn", f"{ours}.attention"),
        Rename(f"{layer}.norm1.{{leaf}}", f"{ours}.norm.{LEAF}"),
        *feed_forward(
            (f"{layer}.linear1", f"{layer}.linear2", f"{layer}.norm2"), f"{ours}.feed_forward"
        ),
    ]
    for level, stride in enumerate(STRIDES):
        projection = f"{target}input_projections.{stride}.{{k}}.{LEAF}"
        rules.append(Rename(f"{source}input_proj.{level}.{{k}}.{{leaf}}", projection))
    return rules


def decoder_layer_rules(
    source: str, num_layers: int, target: str = "decoder.", *, wrapped: str = ""
) -> list[Rule]:
    """List the rules from Mask2Former's decoder layers to steps of a decoder.

    Args:
        source: Prefix, as in ``<source>transformer_ffn_layers.0.norm.weight``.
        num_layers: Of each of the three kinds.
        target: Prefix of a decoder whose block 0 is ``Predict``, and the next three per layer
            cross-attention, self-attention and feed-forward.
        wrapped: What stands between ``multihead_attn`` and the packed weights, such as ``._attn``.

    Returns:
        Rules for a :class:`~segblocks.zoo.key_map.KeyMap`.
    """
    rules: list[Rule] = []
    for layer in range(num_layers):
        cross, self_, block = (f"{target}blocks.{3 * layer + k}" for k in (1, 2, 3))
        theirs = f"{source}transformer_cross_attention_layers.{layer}"
        rules += packed_attention(f"{theirs}.multihead_attn{wrapped}", f"{cross}.attention")
        rules.append(Rename(f"{theirs}.norm.{{leaf}}", f"{cross}.norm.{LEAF}"))
        theirs = f"{source}transformer_self_attention_layers.{layer}"
        rules += packed_attention(f"{theirs}.self_attn", f"{self_}.attention")
        rules.append(Rename(f"{theirs}.norm.{{leaf}}", f"{self_}.norm.{LEAF}"))
        theirs = f"{source}transformer_ffn_layers.{layer}"
        rules += feed_forward(
            (f"{theirs}.linear1", f"{theirs}.linear2", f"{theirs}.norm"), f"{block}.block"
        )
    return rules


def sampling_attention(source: str, target: str) -> list[Rule]:
    """Make the rules of one deformable attention."""
    names = {
        "sampling_offsets": "sampling_offsets",
        "attention_weights": "attention_weights",
        "value_proj": "value",
        "output_proj": "output",
    }
    return [
        Rename(f"{source}.{theirs}.{{leaf}}", f"{target}.{ours}.{LEAF}")
        for theirs, ours in names.items()
    ]


def conv_and_norm(source: str, target: str) -> list[Rule]:
    """Make the rules of detectron2's convolution, which holds its norm, to a sequence of both."""
    return [
        Rename(f"{source}.weight", f"{target}.0.weight"),
        Rename(f"{source}.norm.{{leaf}}", f"{target}.1.{LEAF}"),
    ]


def feed_forward(sources: tuple[str, str, str], target: str) -> list[Rule]:
    """Make the rules from two linear layers and a norm to a feed-forward block."""
    targets = (f"{target}.layers.0", f"{target}.layers.2", f"{target}.norm")
    return [
        Rename(f"{source}.{{leaf}}", f"{ours}.{LEAF}")
        for source, ours in zip(sources, targets, strict=True)
    ]
