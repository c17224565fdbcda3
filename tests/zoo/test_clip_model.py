from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from segblocks.nn import ClipOutput, Prediction
from segblocks.tasks import VIS, VSS
from segblocks.tracking import VideoState
from segblocks.zoo.clip_config import ClipConfig
from segblocks.zoo.clip_model import ClipModel, backbone_options, clip_of_batch

CONFIG = ClipConfig(
    backbone="resnet18",
    embed_dim=32,
    num_heads=2,
    neck_layers=1,
    neck_hidden_dim=32,
    num_points=2,
    drop_path=0.1,
    pixel_mean=(100.0, 120.0, 140.0),
    pixel_std=(50.0, 60.0, 70.0),
)


class Seer(ClipModel):
    tasks = ("vis",)


def frames(height: int = 33, width: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (2, 3, 3, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("value", "fill"), [(None, (0, 0, 0)), (130.0, (0.6, 1 / 6, -1 / 7))])
def test_frames_are_normalised_and_padded_at_the_right_and_below(
    value: float | None, fill: tuple[float, ...]
) -> None:
    normalised = Seer(replace(CONFIG, padding_value=value)).normalise(frames())
    assert normalised.shape == (2, 3, 3, 64, 64)
    for channel, (mean, std) in enumerate(((100, 50), (120, 60), (140, 70))):
        inner = (frames()[:, :, channel].double() - mean) / std
        torch.testing.assert_close(normalised[:, :, channel, :33].double(), inner)
        outer = normalised[:, :, channel, 33:]
        torch.testing.assert_close(outer, torch.full_like(outer, fill[channel]))


def test_a_full_frame_is_not_padded_and_floats_are_taken() -> None:
    model = Seer(CONFIG).double()
    normalised = model.normalise(frames(32).double())
    assert (normalised.shape[-2:], normalised.dtype) == ((32, 64), torch.float64)


def test_mean_and_deviation_are_in_the_state_dict_where_files_have_them() -> None:
    assert not [name for name in Seer(CONFIG).state_dict() if "pixel" in name]
    kept = Seer(CONFIG, keep_pixels=True).state_dict()
    assert kept["pixel_std"].tolist() == [50, 60, 70]


def test_features_must_be_of_the_frames() -> None:
    model = Seer(CONFIG).eval()
    pyramid = model.extract(frames())
    assert model.features_of(frames(), pyramid) is pyramid
    for other in (frames(65), frames()[:1]):
        with pytest.raises(ValueError, match="Seer: features must be of the frames"):
            model.features_of(other, pyramid)
    with pytest.raises(ValueError, match="at stride 8, got None"):
        model.features_of(frames(), {4: pyramid[4]})


def test_wrong_arguments_are_named() -> None:
    model = Seer(CONFIG)
    with pytest.raises(TypeError, match="Seer: frames must be a tensor, got list"):
        model.extract([1])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"shape \(B, T, 3, H, W\), none of them 0"):
        model.extract(torch.zeros(1, 0, 3, 4, 4))
    assert model.check_tasks((VIS("ovis"),)) == (VIS("ovis"),)
    with pytest.raises(ValueError, match="Seer: task must be one of vis, got vss"):
        model.check_tasks((VSS("ovis"),))


def test_frames_are_counted_from_where_the_video_stands() -> None:
    model = Seer(CONFIG)
    assert model.frame_indices(None, 2, None) == (0, 1)
    assert model.frame_indices(None, 2, VideoState((4, 4), (4, 4), next_start=7)) == (7, 8)
    assert model.frame_indices([3, 9], 2, None) == (3, 9)
    with pytest.raises(ValueError, match="Seer: frame_indices must name 2 frames, got 1"):
        model.frame_indices([3], 2, None)


def test_backbones_are_made_as_the_systems_train_them() -> None:
    assert backbone_options(CONFIG) == {"frozen_batch_norm": True}
    swin = backbone_options(replace(CONFIG, backbone="swin_tiny"))
    assert swin == {"output_norms": True, "drop_path": 0.1}


def test_one_clip_of_a_batch() -> None:
    embeddings, classes = torch.randn(2, 5, 8), torch.randn(2, 5, 3)
    prediction = Prediction(embeddings + 1, embeddings, classes, "instance")
    features = torch.randn(2, 3, 8, 4, 4)
    both = ClipOutput(
        (prediction,),
        features,
        {"instance": slice(0, 5)},
        (16, 16),
        (0, 1, 2),
        frame_features={8: features[..., :2, :2]},
    )
    second = clip_of_batch(both, 1)
    assert torch.equal(second.frame_features[8], features[1:, ..., :2, :2])
    torch.testing.assert_close(second.mask_logits, both.mask_logits[1:])
    assert torch.equal(second.queries[0], embeddings[1:] + 1)
    assert second.class_logits is not None
    assert torch.equal(second.class_logits, classes[1:])


def test_the_neck_has_temporal_attention_where_cells_are_given() -> None:
    class Temporal(Seer):
        def __init__(self, config: ClipConfig) -> None:
            super().__init__(config, cells={32: 2, 16: 4})

    assert Seer(CONFIG).neck.cells is None
    assert Temporal(CONFIG).neck.cells == {32: 2, 16: 4}
