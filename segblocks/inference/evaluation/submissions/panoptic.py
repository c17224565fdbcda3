"""Submissions of panoptic pictures with a JSON file of their segments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from segblocks.data.dataset import VideoDataset
from segblocks.data.files import get_field, read_ids, read_json
from segblocks.data.indexed import typed_field
from segblocks.data.panoptic_png import (
    Segments,
    category_indices,
    collect_objects,
    make_truth,
    parse_segments,
)
from segblocks.data.sample import VideoSample
from segblocks.inference.evaluation.submissions.base import (
    Submission,
    Videos,
    flatten,
    is_judged,
    nothing_there,
    stream_json,
)
from segblocks.inference.formats import segments_info
from segblocks.label_files import id_to_rgb, rgb_to_id
from segblocks.results import (
    FrameResult,
    TrackSummary,
    VideoSegmentation,
    VideoSegmentationBuilder,
)
from segblocks.tasks import VPS

_PICTURES, _RECORDS = "pan_pred", "pred.json"


class PanopticFolders(Submission):
    """Panoptic PNGs in a folder for each video, as VIPSeg takes them."""

    layout = "pred.json and pan_pred/<video>/<frame>.png"
    one_folder: ClassVar[bool] = False

    def __init__(self, place: Path, dataset: VideoDataset) -> None:
        if not (place / _RECORDS).is_file() or not (place / _PICTURES).is_dir():
            raise nothing_there(place, dataset, self.layout)
        self.root = place
        self._indices = category_indices(dataset.vocabulary) if dataset.vocabulary else {}
        self._frames = self._index(read_json(place / _RECORDS), str(place / _RECORDS))

    def read(self, sample: VideoSample) -> VideoSegmentation:
        vocabulary = sample.vocabulary
        if vocabulary is None:
            raise ValueError(f"video {sample.name!r} has no classes")
        known = self._known(sample)
        labels = {
            info.id: int(info.label or 0)
            for info in collect_objects(known.values(), vocabulary, f"{self.root}: {sample.name}")
        }
        track_ids = number_tracks(labels, len(vocabulary))
        builder = VideoSegmentationBuilder(sample.size, VPS(vocabulary), vocabulary)
        for t, name in enumerate(sample.file_names):
            path = self._picture(sample, name)
            if name not in known:
                if is_judged(sample, t):
                    raise ValueError(f"{self.root / _RECORDS}: lists no frame {name!r} of {path}")
                continue
            pixels = rgb_to_id(read_ids(path, sample.size, channels=3))
            truth = make_truth(pixels, known[name], vocabulary, str(path))
            assert truth.semantic is not None
            kept = [i for i, number in enumerate(truth.ids) if number in track_ids]
            ids = tuple(track_ids[truth.ids[i]] for i in kept)
            nothing = (None,) * len(ids)
            semantic = truth.semantic.astype(np.int32)
            builder.add(
                FrameResult(t, ids, truth.masks[kept], nothing, nothing, semantic, vocabulary)
            )
        summaries = [TrackSummary(track, labels[number]) for number, track in track_ids.items()]
        return builder.finish(sample.num_frames, summaries)

    def files(self, sample: VideoSample) -> list[Path]:
        pictures = [self._picture(sample, name) for name in sample.file_names]
        return [self.root / _RECORDS, *(path for path in pictures if path.exists())]

    @classmethod
    def write(cls, folder: Path, dataset: VideoDataset, videos: Videos) -> None:
        (folder / _PICTURES).mkdir()
        groups = (cls._write_video(folder / _PICTURES, *video) for video in videos)
        items = flatten(groups) if cls.one_folder else map(_as_video, groups)
        stream_json(folder / _RECORDS, '{"annotations": [', items, "]}")

    @classmethod
    def _write_video(
        cls, pictures: Path, sample: VideoSample, result: VideoSegmentation
    ) -> list[dict[str, Any]]:
        assert result.vocabulary is not None
        folder = pictures if cls.one_folder else pictures / sample.name
        folder.mkdir(parents=True, exist_ok=True)
        records = []
        for t, name in enumerate(sample.file_names):
            panoptic = result.panoptic(t)
            Image.fromarray(id_to_rgb(panoptic.ids)).save(folder / f"{name}.png")
            records.append(
                {
                    "image_id": name,
                    "file_name": f"{name}.png",
                    "video_id": sample.name,
                    "segments_info": segments_info(panoptic, result.vocabulary),
                }
            )
        return records

    def _index(self, content: Any, where: str) -> dict[str, dict[str, Segments]]:
        """Video -> frame -> its segments."""
        frames: dict[str, dict[str, Segments]] = {}
        for i, video in enumerate(typed_field(content, "annotations", list, where)):
            place = f"{where}: annotations[{i}]"
            name = str(get_field(video, "video_id", place))
            records = typed_field(video, "annotations", list, place)
            frames[name] = dict(self._frame(r, f"{where}: {name}") for r in records)
        return frames

    def _frame(self, record: Any, where: str) -> tuple[str, Segments]:
        key = "image_id" if isinstance(record, Mapping) and "image_id" in record else "file_name"
        # Of a file name the stem; an image id has no suffix as a rule.
        name = str(get_field(record, key, where)).removesuffix(".png").removesuffix(".jpg")
        infos = typed_field(record, "segments_info", list, f"{where}: {name}")
        return name, parse_segments(infos, self._indices, f"{where}: {name}")

    def _known(self, sample: VideoSample) -> dict[str, Segments]:
        if sample.name not in self._frames:
            raise FileNotFoundError(
                f"{self.root / _RECORDS}: there is no prediction for the video {sample.name!r}"
            )
        return self._frames[sample.name]

    def _picture(self, sample: VideoSample, name: str) -> Path:
        folder = self.root / _PICTURES
        return (folder if self.one_folder else folder / sample.name) / f"{name}.png"


class PanopticPictures(PanopticFolders):
    """Panoptic PNGs in one folder, named by their image ids, as Cityscapes-VPS takes them."""

    layout = "pred.json and pan_pred/<image id>.png"
    one_folder = True

    def _index(self, content: Any, where: str) -> dict[str, dict[str, Segments]]:
        records = typed_field(content, "annotations", list, where)
        return {
            "": dict(self._frame(r, f"{where}: annotations[{i}]") for i, r in enumerate(records))
        }

    def _known(self, sample: VideoSample) -> dict[str, Segments]:
        names = set(sample.file_names)
        found = {name: s for name, s in self._frames[""].items() if name in names}
        if not found:
            raise FileNotFoundError(
                f"{self.root / _RECORDS}: there is no prediction for the video {sample.name!r}"
            )
        return found


def number_tracks(labels: Mapping[int, int], num_classes: int) -> dict[int, int]:
    """Return the track id of each thing segment.

    In pictures that segblocks wrote, the value of a track is its id plus the number of classes, and
    1 to K are pixels of a class without a track, which are in the semantic map alone. In others,
    the value is the id.

    Args:
        labels: value in the pictures -> class index, of things.
        num_classes: K.

    Example:
        >>> number_tracks({4: 0, 6: 1, 1: 0}, 3), number_tracks({4: 0, 1: 1}, 3)
        ({4: 1, 6: 3}, {4: 4, 1: 1})
    """
    low = {value: label for value, label in labels.items() if value <= num_classes}
    if all(value == label + 1 for value, label in low.items()):
        return {value: value - num_classes for value in labels if value not in low}
    return {value: value for value in labels}


def _as_video(records: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "video_id": records[0]["video_id"],
        "annotations": [{k: v for k, v in r.items() if k != "video_id"} for r in records],
    }
