"""Results as a dataset of videos: our reader and pycocotools give back what was written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from segblocks import VIS, VOS
from segblocks.data.youtube_vis import YouTubeVISDataset
from segblocks.interop.coco import to_coco_video
from segblocks.ops.rle import encode
from segblocks.results import Track, VideoSegmentation

TASK = VIS("youtube_vis_2021", classes=["dog", "cat"])
SIZE, FRAMES = (6, 9), 3


def video(seed: int, labels: tuple[str, ...]) -> VideoSegmentation:
    generator = np.random.default_rng(seed)
    tracks = []
    for i, label in enumerate(labels, start=1):
        shown = {t: generator.random(SIZE) < 0.4 for t in range(FRAMES) if t != i}
        rles = {t: encode(mask) for t, mask in shown.items() if mask.any()}
        tracks.append(Track(i, label, i / 10, rles, SIZE, FRAMES))
    return VideoSegmentation(tuple(tracks), FRAMES, SIZE, TASK, TASK.resolve())


def test_pycocotools_reads_the_masks() -> None:
    result = video(0, ("dog", "cat"))
    record = json.loads(json.dumps(to_coco_video({"home": result})))
    assert [a["id"] for a in record["annotations"]] == [1, 2]
    names = {category["id"]: category["name"] for category in record["categories"]}
    for annotation, track in zip(record["annotations"], result.tracks, strict=True):
        assert names[annotation["category_id"]] == track.label
        assert annotation["score"] == track.score
        for t, rle in enumerate(annotation["segmentations"]):
            if rle is None:
                assert not track.mask(t).any()
                continue
            np.testing.assert_array_equal(coco_mask.decode(rle).astype(bool), track.mask(t))
            assert annotation["areas"][t] == coco_mask.area(rle)
            assert annotation["bboxes"][t] == coco_mask.toBbox(rle).tolist()


def test_our_reader_takes_it_as_a_dataset(tmp_path: Path) -> None:
    results = {"home": video(1, ("dog",)), "street": video(2, ("cat", "dog"))}
    folder = tmp_path / "valid"
    for name in results:
        (folder / "JPEGImages" / name).mkdir(parents=True)
        for t in range(FRAMES):
            Image.new("RGB", SIZE[::-1]).save(folder / "JPEGImages" / name / f"{t:05d}.jpg")
    (folder / "instances.json").write_text(json.dumps(to_coco_video(results)))
    dataset = YouTubeVISDataset(tmp_path, split="val", vocabulary=TASK.resolve())
    assert len(dataset) == 2
    for sample, result in zip(dataset, results.values(), strict=True):
        assert len(sample.objects) == len(result.tracks)
        for t in range(FRAMES):
            truth = sample.read_truth(t)
            masks = dict(zip(truth.ids, truth.masks, strict=True))
            for info, track in zip(sample.objects, result.tracks, strict=True):
                mask = masks.get(info.id, np.zeros(SIZE, bool))
                np.testing.assert_array_equal(mask, track.mask(t))


def test_a_track_without_a_pixel_is_left_out() -> None:
    empty = Track(1, "dog", 0.5, {}, SIZE, FRAMES)
    result = VideoSegmentation((empty,), FRAMES, SIZE, TASK, TASK.resolve())
    assert to_coco_video({"home": result})["annotations"] == []


def test_one_vocabulary_is_needed() -> None:
    hinted = VideoSegmentation((), FRAMES, SIZE, VOS(np.ones((1, *SIZE), bool)))
    with pytest.raises(ValueError, match=r"one vocabulary, got .*'a': None"):
        to_coco_video({"a": hinted})
    other = VIS(["dog"])
    second = VideoSegmentation((), FRAMES, SIZE, other, other.resolve())
    with pytest.raises(ValueError, match="one vocabulary"):
        to_coco_video({"a": video(0, ("dog",)), "b": second})
    with pytest.raises(ValueError, match="one vocabulary"):
        to_coco_video({})
