"""A video in, results out, a clip at a time."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, Literal, Protocol, cast, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm.auto import tqdm

from segblocks.inference.checks import (
    check_hints,
    check_model,
    check_settings,
    find_device,
    whole_number,
)
from segblocks.inference.evaluation_mode import evaluating
from segblocks.inference.frame_size import fit_size, resize_frame
from segblocks.inference.heap import release_heap
from segblocks.inference.schedule import Clip, schedule_clips
from segblocks.inference.video import VideoReader, VideoSource, open_video
from segblocks.inference.window import FrameWindow
from segblocks.inference.writers import save_result
from segblocks.nn.clip_output import ClipOutput
from segblocks.results import FrameResult, VideoSegmentation, VideoSegmentationBuilder
from segblocks.tasks import HintTask, Task, as_tasks
from segblocks.tracking.policy import Resizing, VideoPolicy, VideoState

Results = tuple[FrameResult, ...]

_FRAMES_BETWEEN_RELEASES = 64
_LEAST = {"clip_length": 1, "overlap": 0, "short_side": 0}
_OWN = (*_LEAST, "max_frames", "device", "progress")


class VideoModel(Protocol):
    """What inference needs of a model, besides being an ``nn.Module``."""

    def extract(self, frames: Tensor) -> dict[int, Tensor]:
        """Return the backbone's pyramid, stride -> (1, T, C, h, w), of frames (1, T, 3, h, w)."""
        ...

    def __call__(
        self,
        frames: Tensor,
        task: Sequence[Task],
        *,
        frame_indices: Sequence[int],
        state: Any,
        features: Mapping[int, Tensor],
    ) -> ClipOutput:
        """Segment one clip."""
        ...

    def video_policy(self, task: Sequence[Task], **settings: Any) -> VideoPolicy[Any]:
        """Say how a video is cut into clips, and how their outputs join."""
        ...


@overload
def stream(
    model: nn.Module, source: VideoSource, task: Task, **options: Any
) -> Iterator[FrameResult]: ...
@overload
def stream(
    model: nn.Module, source: VideoSource, task: Sequence[Task], **options: Any
) -> Iterator[Results]: ...
def stream(
    model: nn.Module,
    source: VideoSource,
    task: Task | Sequence[Task],
    *,
    clip_length: int | None = None,
    overlap: int | None = None,
    short_side: int | None = None,
    max_frames: int | None = None,
    device: str | torch.device | None = None,
    progress: bool = False,
    **settings: Any,
) -> Iterator[FrameResult] | Iterator[Results]:
    """Segment a video of any length, frame by frame, in constant memory.

    A frame comes out as soon as no later clip will see it: when the last clip that holds it has
    been read, and one frame more, so at most ``clip_length`` frames late. Only the frames, features
    and low-resolution logits of one clip are held. The model is put into evaluation mode only while
    it works.

    Args:
        model: of the zoo, or one that does the same (:class:`VideoModel`).
        source: whatever :func:`segblocks.inference.open_video` takes.
        task: one task, or several to be done in one pass, at most one of VIS, VPS and VSS.
        clip_length: frames of a clip; the default is the model's for the task.
        overlap: frames that successive clips share; the default is the model's.
        short_side: pixels of the frames' short side as the model sees them, 0 for the size of the
            video; the default is the model's for the task. Results have the size of the video.
        max_frames: end after this many frames; later ones are not even decoded.
        device: move the model there first; the default leaves it where it is.
        progress: show a progress bar.
        settings: others of the model's ``video_policy``, such as ``official_compat=True``.

    Returns:
        The result of each frame, in order; a tuple of them, in task order, for several tasks.

    Raises:
        TypeError: no model, an unknown setting, or a number that is not whole.
        ValueError: a task that the model cannot do, hints that do not fit the video, an unreadable
            or empty video, a device that is not there, logits that are not numbers.
        FileNotFoundError: there is no such video.
        torch.OutOfMemoryError: a clip needs more than the GPU has; says what to lower. Nothing of
            the clip is held any more, so a smaller one can be tried in the same process.

    Example:
        >>> from segblocks import PET, create_model
        >>> model = create_model("tarvis_resnet50", neck_layers=1, decoder_layers=3)
        >>> video = np.zeros((3, 32, 64, 3), np.uint8)
        >>> for frame in stream(model, video, PET([(40, 8)]), short_side=0):
        ...     print(frame.index, frame.ids, frame.masks.shape)
        0 (1,) (1, 32, 64)
        1 (1,) (1, 32, 64)
        2 (1,) (1, 32, 64)
    """
    settings |= {"clip_length": clip_length, "overlap": overlap, "short_side": short_side}
    run = _Run("stream", model, source, task, settings, max_frames, device, progress)
    if isinstance(task, Task):
        return (results[0] for results in run.results())
    return run.results()


@overload
def segment(
    model: nn.Module, source: VideoSource, task: Task, **options: Any
) -> VideoSegmentation: ...
@overload
def segment(
    model: nn.Module, source: VideoSource, task: Sequence[Task], **options: Any
) -> list[VideoSegmentation]: ...
def segment(
    model: nn.Module,
    source: VideoSource,
    task: Task | Sequence[Task],
    *,
    clip_length: int | None = None,
    overlap: int | None = None,
    short_side: int | None = None,
    max_frames: int | None = None,
    device: str | torch.device | None = None,
    progress: bool = False,
    **settings: Any,
) -> VideoSegmentation | list[VideoSegmentation]:
    """Segment a whole video; :func:`stream`, collected.

    Args:
        model: as for :func:`stream`, like all that follow.
        source: the video.
        task: one task, or several to be done in one pass.
        clip_length: frames of a clip.
        overlap: frames that successive clips share.
        short_side: pixels of the frames' short side as the model sees them, 0 for the video's.
        max_frames: end after this many frames.
        device: move the model there first.
        progress: show a progress bar.
        settings: others of the model's ``video_policy``.

    Returns:
        The tracks and label maps, held compressed; a list, in task order, for several tasks.

    Raises:
        TypeError: as for :func:`stream`.
        ValueError: as for :func:`stream`.
        FileNotFoundError: there is no such video.
        torch.OutOfMemoryError: as for :func:`stream`.

    Example:
        >>> from segblocks import VIS, VOS, create_model
        >>> model = create_model("tarvis_resnet50", neck_layers=1, decoder_layers=3)
        >>> mask = np.zeros((1, 32, 64), bool)
        >>> mask[0, 8:24, 8:24] = True
        >>> video = np.zeros((3, 32, 64, 3), np.uint8)
        >>> vis, vos = segment(model, video, [VIS("ovis"), VOS(mask)], short_side=0)
        >>> vos.num_frames, [track.id for track in vos.tracks]
        (3, [1])
    """
    settings |= {"clip_length": clip_length, "overlap": overlap, "short_side": short_side}
    run = _Run("segment", model, source, task, settings, max_frames, device, progress)
    builders: list[VideoSegmentationBuilder] = []
    for results in run.results():
        if not builders:
            builders = [run.builder(t, r) for t, r in zip(run.tasks, results, strict=True)]
        for builder, result in zip(builders, results, strict=True):
            builder.add(result)
    segmentations = [
        builder.finish(run.num_frames, summaries)
        for builder, summaries in zip(builders, run.policy.summary(run.state), strict=True)
    ]
    return segmentations[0] if isinstance(task, Task) else segmentations


class _Run:
    """One pass of a model over a video."""

    state: VideoState

    def __init__(
        self,
        caller: Literal["segment", "stream"],
        model: nn.Module,
        source: VideoSource,
        task: Task | Sequence[Task],
        settings: Mapping[str, Any],
        max_frames: int | None,
        device: str | torch.device | None,
        progress: bool,
    ) -> None:
        check_model(caller, model)
        settings = _given(caller, settings)
        check_settings(caller, model, settings, _OWN)
        if device is not None:
            device = find_device(device, f"{caller}: device")
        self.tasks = as_tasks(task)
        self.module = model
        self.model = cast(VideoModel, model)
        self.policy = self.model.video_policy(self.tasks, **settings)
        self.reader: VideoReader = open_video(source, max_frames=max_frames)
        if self.reader.most_frames is not None:
            check_hints(self.tasks, self.reader.most_frames, self.reader.name)
        self.num_frames = 0
        self._window = FrameWindow(self.model.extract)
        self._progress = progress
        self._summarised = caller == "segment"
        if device is not None:
            model.to(device)

    def results(self) -> Iterator[Results]:
        """Go through the video, once."""
        bar = tqdm(total=self.reader.num_frames, unit="frame", disable=not self._progress)
        with self.reader, bar:
            for results in _while_evaluating(self.module, self._results()):
                bar.update()
                yield results
                if results[0].index % _FRAMES_BETWEEN_RELEASES == 0:
                    release_heap()

    def builder(self, task: Task, first: FrameResult) -> VideoSegmentationBuilder:
        """Make what collects the results of a task, of which ``first`` is one."""
        height, width = first.masks.shape[1:]
        return VideoSegmentationBuilder(
            (height, width), task, first.vocabulary, writer=save_result, source=self.reader
        )

    def _results(self) -> Generator[Results, None, None]:
        decoded = self._counted(self.reader)
        first = next(decoded)
        decoded = chain([first], decoded)
        size = (first.shape[0], first.shape[1])
        resizing: Resizing = getattr(self.policy, "resizing", "opencv")
        # A policy may hand on the 0 by which a user asks for the size of the video.
        short_side = self.policy.short_side or None
        model_size = fit_size(size, short_side, self.policy.long_side, resizing)
        for task in self._hint_tasks():
            task.validate(*size)
        self.state = self.policy.start(size, model_size)
        self.state.summarised = self._summarised
        for _ in islice(decoded, self.state.next_start):
            yield from self.policy.skip(1, self.state)
        device = _device_of(self.module)
        frames = (_to_model(frame, model_size, resizing, device) for frame in decoded)
        for clip in schedule_clips(
            frames, self.policy.clip_length, self.policy.overlap, start=self.state.next_start
        ):
            yield from self._take_in(clip)
        check_hints(self.tasks, self.num_frames, self.reader.name)

    def _take_in(self, clip: Clip[Tensor]) -> Iterator[Results]:
        """Look at a clip; yields the frames that are finished thereby."""
        try:
            yield from self._finished_by(clip)
            return
        except torch.OutOfMemoryError as error:
            reason = str(error).partition("\n")[0]
        # Not while the error is handled, as it holds all tensors of the calls that failed.
        self._window.keep_last(0)
        raise torch.OutOfMemoryError(_advice(clip, self.policy, self.state, reason))

    def _finished_by(self, clip: Clip[Tensor]) -> Iterator[Results]:
        self._window.extend(clip.new)
        tasks = self.policy.hints(self.state, clip.num_frames)
        if tasks is None:
            finished = self.policy.skip(clip.num_frames, self.state, last=clip.last)
        else:
            output = self._ask(clip, tasks)
            finished = self.policy.merge(output, self.state, last=clip.last)
        self._window.keep_last(0 if clip.last else self.policy.overlap)
        return finished

    def _ask(self, clip: Clip[Tensor], tasks: list[Task]) -> ClipOutput:
        output = self.model(
            self._window.frames,
            tasks,
            frame_indices=tuple(range(clip.start, clip.start + clip.num_frames)),
            state=self.state,
            features=self._window.features(),
        )
        _check_numbers(output)
        return output

    def _counted(self, frames: Iterable[NDArray[np.uint8]]) -> Iterator[NDArray[np.uint8]]:
        for frame in frames:
            self.num_frames += 1
            yield frame

    def _hint_tasks(self) -> list[HintTask]:
        return [task for task in self.tasks if isinstance(task, HintTask)]


def _given(caller: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that are not left to the model, numbers of frames and pixels as ``int``."""
    given = {name: value for name, value in settings.items() if value is not None}
    for name in given.keys() & _LEAST.keys():
        given[name] = whole_number(caller, name, given[name], least=_LEAST[name])
    return given


def _device_of(model: nn.Module) -> torch.device:
    tensor = next(chain(model.parameters(), model.buffers()), None)
    return torch.device("cpu") if tensor is None else tensor.device


def _to_model(
    frame: NDArray[np.uint8], size: tuple[int, int], resizing: Resizing, device: torch.device
) -> Tensor:
    """A decoded frame (H, W, 3) as the model gets it, (3, h, w) uint8."""
    return resize_frame(torch.tensor(frame, device=device).permute(2, 0, 1), size, resizing)


def _advice(clip: Clip[Tensor], policy: VideoPolicy[Any], state: VideoState, reason: str) -> str:
    height, width = state.model_size
    return (
        f"out of memory at frames {clip.start} to {clip.start + clip.num_frames - 1} of "
        f"{height}x{width} pixels: lower short_side (--short-side, now {min(height, width)}) or "
        f"clip_length (--clip-length, now {policy.clip_length}), or take another device "
        f"(--device cpu); {reason}"
    )


def _check_numbers(output: ClipOutput) -> None:
    prediction = output.predictions[-1]
    parts = {
        "mask embeddings": prediction.mask_embeddings,
        "mask features": output.mask_features,
        "class logits": prediction.class_logits,
    }
    for name, values in parts.items():
        if values is not None and values.amax().isnan():
            raise ValueError(
                f"the model's {name} hold NaN in frames {output.frame_indices[0]} to "
                f"{output.frame_indices[-1]}; its weights may be damaged, or its precision too low"
            )


def _while_evaluating(
    model: nn.Module, results: Generator[Results, None, None]
) -> Iterator[Results]:
    """Step through a generator in inference mode, which the code between steps is not in."""
    try:
        while True:
            with evaluating(model):
                step = next(results, None)
            if step is None:
                return
            yield step
    finally:
        results.close()
