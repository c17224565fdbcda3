"""Official UniVS checkpoints to and from ours."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from segblocks.zoo.backbone_keys import detect_backbone, resnet50_rules, swin_rules
from segblocks.zoo.checkpoint import CheckpointError
from segblocks.zoo.key_map import KeyMap, compare_state_dicts, meta_state_dict
from segblocks.zoo.key_rules import Drop, Rename, Rule, packed_attention
from segblocks.zoo.mask2former_keys import LEAF, feed_forward, neck_rules
from segblocks.zoo.univs.config import UniVSConfig
from segblocks.zoo.univs.model import UniVS
from segblocks.zoo.univs.prompts import PROMPT_TYPES

BACKBONE = "backbone."
HEAD = "sem_seg_head."
NECK = f"{HEAD}pixel_decoder."
PREDICTOR = f"{HEAD}predictor."
QUERIES = f"{PREDICTOR}query_feat.weight"
LANGUAGE = f"{PREDICTOR}lang2vision_cross_attention_layer."
_OLD_QUERIES = f"{PREDICTOR}static_query.weight"
_TEACHER = {"backbone_t.": BACKBONE, "sem_seg_head_t.": HEAD}
# Buffers of the backbone, which the official code does not average.
_BUFFERS = ("running_mean", "running_var", "relative_position_index")
_OFFICIAL_PROMPTS = {"visual": "sot", "category": "detection", "grounding": "grounding"}


class UniVSSource:
    """Checkpoints of the official code, ``MinghanLi/UniVS``, of all training stages.

    Files of the last stage hold two sets of weights: the trained one, and its moving average.
    """

    def convert(self, state_dict: Mapping[str, Tensor], weights: str = "student") -> dict:
        """Turn an official state dict into that of :class:`UniVS`.

        Args:
            state_dict: what the file holds under ``model``.
            weights: "student", or "ema" for the average where the file has it.

        Returns:
            The state dict of the model with the backbone and sizes found.

        Raises:
            CheckpointError: another model's, one without the weights that were asked for, or
                entries missing, unexpected or misshapen.
            ValueError: another choice of ``weights``.
        """
        chosen = choose_weights(state_dict, weights)
        config = detect_config(chosen)
        shapes = meta_state_dict(lambda: UniVS(config))
        return key_map(config).convert(chosen, shapes)

    def export(self, state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Turn our state dict into the official one, less its constant buffers.

        Raises:
            CheckpointError: it is not that of a UniVS.
        """
        swin = any(name.startswith("backbone.norms.") for name in state_dict)
        layers = _last_block(state_dict) // 4
        exported = _rules("swin" if swin else "resnet50", layers).export(state_dict)
        config = detect_config(exported)
        compare_state_dicts(state_dict, meta_state_dict(lambda: UniVS(config)))
        return exported

    def advice(self, state_dict: Mapping[str, Tensor]) -> str | None:
        """Say which model an official state dict is for, or None where it is none."""
        try:
            config = detect_config(choose_weights(state_dict, "student"))
        except CheckpointError:
            return None
        options = f"num_queries={config.num_queries}"
        if not config.language_to_image:
            options += " and language_to_image=False"
        return f"this is a file for univs_{config.backbone} with {options}"


def choose_weights(state_dict: Mapping[str, Tensor], weights: str) -> dict[str, Tensor]:
    """Take one of the two sets of weights of an official state dict, under the usual names.

    Args:
        state_dict: official.
        weights: "student" or "ema". The average lacks the buffers, which are the student's.

    Raises:
        CheckpointError: there is no average.
        ValueError: another choice.
    """
    if weights not in ("student", "ema"):
        raise ValueError(f"univs: weights must be 'student' or 'ema', got {weights!r}")
    student = {n: v for n, v in state_dict.items() if not n.startswith(tuple(_TEACHER))}
    if _OLD_QUERIES in student and QUERIES not in student:
        student[QUERIES] = student.pop(_OLD_QUERIES)
    if weights == "student":
        return student
    teacher = {
        usual + name.removeprefix(theirs): value
        for theirs, usual in _TEACHER.items()
        for name, value in state_dict.items()
        if name.startswith(theirs)
    }
    if not teacher:
        raise CheckpointError(
            "weights='ema' asks for averaged weights, and this checkpoint has none (no "
            f"{' or '.join(_TEACHER)}); weights='student' takes the trained ones"
        )
    if _OLD_QUERIES in teacher and QUERIES not in teacher:
        teacher[QUERIES] = teacher.pop(_OLD_QUERIES)
    buffers = {
        name: value
        for name, value in student.items()
        if name.endswith(_BUFFERS)
        or (".norm." in name and name.startswith(f"{BACKBONE}res"))
        or name.startswith(f"{BACKBONE}stem.conv1.norm.")
    }
    return buffers | teacher


def detect_config(state_dict: Mapping[str, Tensor]) -> UniVSConfig:
    """Read the backbone and the sizes off an official state dict with one set of weights.

    Raises:
        CheckpointError: it is not one.
    """
    needed = {
        "queries": QUERIES,
        "text": f"{PREDICTOR}vis2text_projection.weight",
        "prompts": f"{PREDICTOR}prompt_sot.weight",
        "neck": f"{NECK}transformer.encoder.layers.0.linear1.bias",
        "decoder": f"{PREDICTOR}transformer_ffn_layers.0.linear1.bias",
    }
    missing = [name for name in needed.values() if name not in state_dict]
    if missing:
        raise CheckpointError(
            f"this is not an official UniVS checkpoint: it has no {missing[0]!r}, "
            f"and begins with {list(state_dict)[:3]}"
        )
    found = {name: state_dict[key] for name, key in needed.items()}
    return UniVSConfig(
        backbone=detect_backbone(state_dict, BACKBONE),
        num_queries=len(found["queries"]),
        embed_dim=found["queries"].shape[-1],
        neck_layers=_count(state_dict, f"{NECK}transformer.encoder.layers."),
        neck_hidden_dim=len(found["neck"]),
        decoder_layers=_count(state_dict, f"{PREDICTOR}transformer_ffn_layers."),
        decoder_hidden_dim=len(found["decoder"]),
        text_dim=len(found["text"]),
        language_to_image=any(name.startswith(LANGUAGE) for name in state_dict),
    )


def key_map(config: UniVSConfig) -> KeyMap:
    """The table of all entries of a model."""
    return _rules(config.backbone, config.decoder_layers)


def _rules(backbone: str, num_layers: int) -> KeyMap:
    backbone_rules = resnet50_rules if backbone == "resnet50" else swin_rules
    return KeyMap(
        [
            *backbone_rules(BACKBONE, "backbone."),
            *neck_rules(NECK),
            *_decoder_rules(num_layers),
            *_prompt_rules(),
            Drop(f"{PREDICTOR}class_embed.{{rest}}"),
            Drop("criterion.{rest}"),
        ]
    )


def _decoder_rules(num_layers: int) -> list[Rule | Drop]:
    predict = "decoder.blocks.1"
    rules: list[Rule | Drop] = [
        Rename(QUERIES, "query_content"),
        Rename(f"{PREDICTOR}query_embed.weight", "query_position"),
        Rename(f"{PREDICTOR}level_embed.weight", "decoder.level_embedding"),
        Rename(f"{PREDICTOR}decoder_norm.{{leaf}}", f"{predict}.norm.{LEAF}"),
        Rename(
            f"{PREDICTOR}vis2text_projection.{{leaf}}", f"{predict}.class_head.projection.{LEAF}"
        ),
        Rename(f"{PREDICTOR}cls_temp.weight", f"{predict}.class_head.log_temperature"),
        Rename(f"{PREDICTOR}reid_temp.weight", "reid_temperature"),
    ]
    for layer in range(3):
        rules.append(
            Rename(
                f"{PREDICTOR}mask_embed.layers.{layer}.{{leaf}}",
                f"{predict}.mask_head.embedding.{2 * layer}.{LEAF}",
            )
        )
    for layer in range(num_layers):
        rules += _layer_rules(layer)
    return rules


def _layer_rules(layer: int) -> list[Rule]:
    """The rules of a round; the first prediction stands between the first two of its steps."""
    first = 4 * layer + 1
    prompts, pixels, queries, forward = (
        f"decoder.blocks.{block}"
        for block in (first if layer else 0, first + 1, first + 2, first + 3)
    )
    rules: list[Rule] = []
    for kind, attention, block in (
        ("prompt_self_attention", "multihead_attn", prompts),
        ("cross_attention", "multihead_attn", pixels),
        ("self_attention", "self_attn", queries),
    ):
        theirs = f"{PREDICTOR}transformer_{kind}_layers.{layer}"
        rules += packed_attention(f"{theirs}.{attention}", f"{block}.attention")
        rules.append(Rename(f"{theirs}.norm.{{leaf}}", f"{block}.norm.{LEAF}"))
    theirs = f"{PREDICTOR}transformer_ffn_layers.{layer}"
    return rules + feed_forward(
        (f"{theirs}.linear1", f"{theirs}.linear2", f"{theirs}.norm"), f"{forward}.block"
    )


def _prompt_rules() -> list[Rule]:
    rules: list[Rule] = [
        Rename(f"{PREDICTOR}prompt_{_OFFICIAL_PROMPTS[kind]}.weight", f"prompts.types.{kind}")
        for kind in PROMPT_TYPES
    ]
    return [
        *rules,
        Rename(f"{PREDICTOR}text_norm.{{leaf}}", f"prompts.text_projection.0.{LEAF}"),
        Rename(f"{PREDICTOR}text2vis_projection.{{leaf}}", f"prompts.text_projection.1.{LEAF}"),
        *packed_attention(f"{LANGUAGE}multihead_attn", "prompts.language_to_image.attention"),
        Rename(f"{LANGUAGE}norm.{{leaf}}", f"prompts.language_to_image.norm.{LEAF}"),
    ]


def _last_block(state_dict: Mapping[str, Tensor]) -> int:
    steps = [name.split(".")[2] for name in state_dict if name.startswith("decoder.blocks.")]
    return max((int(step) for step in steps), default=0)


def _count(state_dict: Mapping[str, Tensor], prefix: str) -> int:
    """How many layers there are under a prefix."""
    return len({n[len(prefix) :].split(".")[0] for n in state_dict if n.startswith(prefix)})
