"""What the models of the zoo do alike: frames to a pyramid, and the checks around a clip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from segblocks.nn.backbone import TimmBackbone
from segblocks.nn.clip_output import ClipOutput, Prediction
from segblocks.nn.temporal_neck import TemporalNeck
from segblocks.tasks import Task
from segblocks.tracking.policy import VideoState
from segblocks.zoo.clip_config import ClipConfig
from segblocks.zoo.hub import PretrainedModel
from segblocks.zoo.registry import models_for

STRIDES = (32, 16, 8)
"""The levels that decoders attend to, in their order."""
MASK_STRIDE = 4


class ClipModel(PretrainedModel):
    """Begin a model that takes clips of frames, with its backbone and its neck.

    A system derives from it and sets ``tasks``.

    Args:
        config: the numbers.
        cells: of the neck's temporal attention; None for a neck that sees each frame by itself,
            Mask2Former's pixel decoder.
        keep_pixels: hold mean and deviation in the state dict, as some official files do.
    """

    tasks: tuple[str, ...] = ()
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        config: ClipConfig,
        *,
        cells: Mapping[int, int] | None = None,
        keep_pixels: bool = False,
    ) -> None:
        super().__init__()
        self.config = config
        for name in ("pixel_mean", "pixel_std"):
            value = torch.tensor(getattr(config, name), dtype=torch.float32)
            self.register_buffer(name, value, persistent=keep_pixels)
        self.backbone = TimmBackbone(config.backbone, **backbone_options(config))
        self.neck = TemporalNeck(
            self.backbone.channels,
            config.embed_dim,
            strides=STRIDES,
            mask_stride=MASK_STRIDE,
            num_layers=config.neck_layers,
            num_heads=config.num_heads,
            num_points=config.num_points,
            hidden_dim=config.neck_hidden_dim,
            cells=cells,
        )

    def extract(self, frames: Tensor) -> dict[int, Tensor]:
        """Normalise, pad and run the backbone, which sees each frame by itself.

        Args:
            frames: (B, T, 3, H, W) RGB on the scale 0..255, uint8 or float.

        Returns:
            stride -> (B, T, C_s, H' / s, W' / s), H' and W' being the padded size.

        Raises:
            ValueError: another shape.
        """
        self.check_frames(frames)
        return self.backbone(self.normalise(frames))

    def normalise(self, frames: Tensor) -> Tensor:
        """Bring frames to what the backbone gets.

        Args:
            frames: (B, T, 3, H, W) RGB on the scale 0..255, uint8 or float.

        Returns:
            (B, T, 3, H', W') in the dtype of the model.
        """
        mean, std = (x.float()[:, None, None] for x in (self.pixel_mean, self.pixel_std))
        value = self.config.padding_value
        padding = (mean if value is None else value) - mean
        padded = (padding / std).expand(*frames.shape[:3], *self.padded_size(frames)).clone()
        padded[..., : frames.shape[-2], : frames.shape[-1]] = (frames.float() - mean) / std
        return padded.to(self.pixel_mean.dtype)

    def padded_size(self, frames: Tensor) -> tuple[int, int]:
        """Height and width of frames (..., H, W) after padding."""
        multiple = self.config.size_multiple
        height, width = (-(-int(side) // multiple) * multiple for side in frames.shape[-2:])
        return height, width

    def check_frames(self, frames: Tensor) -> None:
        """Refuse what is no clip of frames.

        Raises:
            TypeError: no tensor.
            ValueError: another shape than (B, T, 3, H, W), or an empty one.
        """
        name = type(self).__name__
        if not isinstance(frames, Tensor):
            raise TypeError(f"{name}: frames must be a tensor, got {type(frames).__name__}")
        if frames.dim() != 5 or frames.shape[2] != 3 or 0 in frames.shape:
            raise ValueError(
                f"{name}: frames must have shape (B, T, 3, H, W), none of them 0, "
                f"got {tuple(frames.shape)}"
            )

    @property
    def feature_channels(self) -> Mapping[int, int]:
        """Stride -> channels of what :meth:`extract` returns."""
        return self.backbone.channels

    def features_of(
        self, frames: Tensor, features: Mapping[int, Tensor] | None
    ) -> Mapping[int, Tensor]:
        """Take the features that are at hand, or extract them.

        Args:
            frames: (B, T, 3, H, W).
            features: what :meth:`extract` returned for these frames, or None.

        Raises:
            ValueError: frames of another shape, or features of others; names the first stride that
                differs.
        """
        if features is None:
            return self.extract(frames)
        self.check_frames(frames)
        height, width = self.padded_size(frames)
        for stride, channels in self.feature_channels.items():
            want = (*frames.shape[:2], channels, height // stride, width // stride)
            got = tuple(features[stride].shape) if stride in features else None
            if got != want:
                raise ValueError(
                    f"{type(self).__name__}: features must be of the frames "
                    f"{tuple(frames.shape)}, that is {want} at stride {stride}, got {got}"
                )
        return features

    def check_batch(self, frames: Tensor, **given: Sequence[Any] | None) -> None:
        """Refuse what is no batch of clips with one of everything each.

        Args:
            frames: (B, T, 3, H, W).
            given: by the name of the argument; None is left alone.

        Raises:
            TypeError: frames that are no tensor.
            ValueError: frames of another shape, or an argument that has not B entries.
        """
        self.check_frames(frames)
        for name, values in given.items():
            if values is not None and len(values) != len(frames):
                raise ValueError(
                    f"{type(self).__name__}: {name} must be {len(frames)}, one a clip, "
                    f"got {len(values)}"
                )

    def check_tasks(self, tasks: tuple[Task, ...]) -> tuple[Task, ...]:
        """Return the tasks, or raise ValueError where one is not in :attr:`tasks`."""
        for task in tasks:
            if task.name not in self.tasks:
                raise ValueError(
                    f"{type(self).__name__}: task must be one of {', '.join(self.tasks)}, got "
                    f"{task.name}, which {', '.join(models_for(task.name)) or 'no model here'} "
                    "can do"
                )
        return tasks

    def frame_indices(
        self, given: Sequence[int] | None, num_frames: int, state: VideoState | None
    ) -> tuple[int, ...]:
        """Number the frames of a clip.

        Args:
            given: their indices in the video; None goes on where ``state`` stands, or from 0.
            num_frames: T.
            state: of the video, or None.

        Raises:
            ValueError: another number of indices.
        """
        if given is None:
            start = 0 if state is None else state.next_start
            return tuple(range(start, start + num_frames))
        if len(given) != num_frames:
            raise ValueError(
                f"{type(self).__name__}: frame_indices must name {num_frames} frames, "
                f"got {len(given)}"
            )
        return tuple(int(i) for i in given)


def size_of(frames: Tensor) -> tuple[int, int]:
    """Height and width of frames (..., H, W)."""
    return int(frames.shape[-2]), int(frames.shape[-1])


def backbone_options(config: ClipConfig) -> dict[str, Any]:
    """What a backbone of the published systems is made with.

    Args:
        config: the numbers.

    Returns:
        Arguments for :class:`~segblocks.nn.TimmBackbone`: Swin has norms over its outputs, all
        others have frozen batch norms.
    """
    if config.backbone.startswith("swin"):
        return {"output_norms": True, "drop_path": config.drop_path}
    return {"frozen_batch_norm": True}


def clip_of_batch(output: ClipOutput, place: int) -> ClipOutput:
    """Return one clip of an output of several, without a copy."""
    here = slice(place, place + 1)
    return replace(
        output,
        predictions=tuple(prediction_of_batch(p, place) for p in output.predictions),
        mask_features=output.mask_features[here],
        frame_features={s: level[here] for s, level in output.frame_features.items()},
    )


def prediction_of_batch(prediction: Prediction, place: int) -> Prediction:
    """Return the prediction for one clip of several, without a copy."""
    here = slice(place, place + 1)
    logits = prediction.class_logits
    return replace(
        prediction,
        queries=prediction.queries[here],
        mask_embeddings=prediction.mask_embeddings[here],
        class_logits=None if logits is None else logits[here],
    )
