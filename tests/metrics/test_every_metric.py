"""What every metric must do, whatever it measures."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from segblocks.data.registry import list_datasets
from segblocks.data.sample import ObjectInfo, VideoSample
from segblocks.data.synthetic import SyntheticWorld, world_config
from segblocks.metrics import (
    HOTA,
    PQ,
    STQ,
    VPQ,
    GScore,
    JAndF,
    MeanIoU,
    TrackAP,
    VideoConsistency,
    VideoMetric,
    metrics_for,
)
from segblocks.results import VideoSegmentation
from segblocks.tasks import PET, VIS, VOS, VPS, VSS, RefVOS, Task
from tests.metrics.videos import STREET, annotated_video, blobs, followed, predicted_video

SHAPE = (20, 12, 16)
Video = tuple[VideoSample, VideoSegmentation]
FACTORIES: dict[str, tuple[Callable[[], VideoMetric], str]] = {
    "TrackAP": (TrackAP, "vis"),
    "HOTA": (HOTA, "vis"),
    "JAndF": (JAndF, "vos"),
    "GScore": (GScore, "vos"),
    "PQ": (PQ, "vps"),
    "VPQ": (VPQ, "vps"),
    "STQ": (STQ, "vps"),
    "MeanIoU": (MeanIoU, "vps"),
    "VideoConsistency": (VideoConsistency, "vps"),
}
#: What a perfect prediction scores 1 in and an empty one 0.
MAIN = {
    "TrackAP": ("AP", "AP50", "AP75", "AR10", "AR100"),
    "HOTA": ("HOTA", "DetA", "AssA"),
    "JAndF": ("J&F", "J_mean", "J_recall", "F_mean", "F_recall"),
    "GScore": ("G", "J_seen", "J_unseen", "F_seen", "F_unseen"),
    "PQ": ("PQ", "SQ", "RQ", "PQ_Th", "PQ_St"),
    "VPQ": ("VPQ", "VPQ_Th", "VPQ_St", "VPQ@1", "VPQ@4", "VPQ_Th@3"),
    "STQ": ("STQ", "AQ", "SQ"),
    "MeanIoU": ("mIoU", "fwIoU", "pixel_accuracy", "class_accuracy"),
    "VideoConsistency": ("mVC8", "mVC16"),
}


def truth_masks(rng: np.random.Generator) -> dict[int, NDArray[np.bool_]]:
    """Three objects that share no pixel; each is there in the first frame."""
    masks = blobs(rng, (1, 2, 5), SHAPE)
    taken = np.zeros(SHAPE, dtype=bool)
    for i, mask in enumerate(masks.values()):
        mask[:, 4 * i : 4 * i + 2, :3] = True
        mask &= ~taken
        taken |= mask
    return masks


def background(rng: np.random.Generator) -> NDArray[np.int64]:
    semantic = np.zeros(SHAPE, dtype=np.int64)
    semantic[:, : int(rng.integers(3, 8))] = 1
    return semantic


def make(kind: str, seed: int, *, quality: str = "noisy") -> Video:
    """A video, and a prediction of it that is "perfect", "noisy" or "empty"."""
    rng = np.random.default_rng(seed)
    masks, semantic = truth_masks(rng), background(rng)
    objects = [
        ObjectInfo(i, 2 + (i > 1), attributes={"seen": i != 2, "note": "x"}) for i in sorted(masks)
    ]
    full = semantic.copy()
    for obj in objects:
        full[masks[obj.id]] = obj.label
    video = annotated_video(masks, name=f"video{seed}", objects=objects, semantic=full)
    found = {i: m.copy() for i, m in masks.items()}
    labels = {o.id: int(o.label or 0) for o in objects}
    scores = {i: 0.9 - 0.1 * i for i in masks}
    if quality == "noisy":
        found = {i: m ^ (rng.random(SHAPE) < 0.1) for i, m in masks.items()}
        found[9], labels[9], scores[9] = blobs(rng, (9,), SHAPE)[9], 2, 0.35
        semantic = np.where(rng.random(SHAPE) < 0.2, 1 - semantic, semantic)
    if quality == "empty":
        found, semantic = {i: np.zeros(SHAPE, dtype=bool) for i in masks}, np.full(SHAPE, -1)
    if kind == "vos":
        return video, followed({i: found[i] for i in masks})
    if kind == "vis":
        return video, predicted_video(found, labels=labels, scores=scores, shape=SHAPE)
    return video, predicted_video(found, labels=labels, scores=scores, semantic=semantic)


@pytest.fixture(params=FACTORIES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def test_perfect_is_one(name: str) -> None:
    factory, kind = FACTORIES[name]
    metric = factory()
    for seed in range(2):
        metric.update(*make(kind, seed, quality="perfect"))
    result = metric.compute()
    assert {n: result[n] for n in MAIN[name]} == pytest.approx(dict.fromkeys(MAIN[name], 1.0))


@pytest.mark.parametrize("kind", ["empty"])
def test_empty_is_zero(name: str, kind: str) -> None:
    factory, task = FACTORIES[name]
    if name == "VideoConsistency":
        pytest.skip("a prediction that never changes is consistent, whatever it is")
    metric = factory()
    metric.update(*make(task, 3, quality=kind))
    result = metric.compute()
    if name in ("JAndF", "GScore"):
        # Where the object is gone an empty mask is right; in every other frame it is wrong.
        assert max(result[n] for n in MAIN[name]) < 0.4
    else:
        assert {n: result[n] for n in MAIN[name]} == dict.fromkeys(MAIN[name], 0.0)


def test_nothing_judged_is_nan_or_absent(name: str) -> None:
    assert all(math.isnan(v) for v in FACTORIES[name][0]().compute().values())


def test_state_round_trip_equals_uninterrupted(name: str) -> None:
    factory, kind = FACTORIES[name]
    videos = [make(kind, seed) for seed in range(3)]
    whole, first, resumed = factory(), factory(), factory()
    for video in videos:
        whole.update(*video)
    first.update(*videos[0])
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    resumed.update(*videos[1])
    late = factory()
    late.update(*videos[2])
    resumed.load_state_dict(json.loads(json.dumps(late.state_dict())))
    assert repr(resumed.compute()) == repr(whole.compute())
    assert repr(resumed.per_video()) == repr(whole.per_video())
    assert resumed.state_dict() == whole.state_dict() == json.loads(json.dumps(whole.state_dict()))
    assert resumed.videos == ("video0", "video1", "video2")
    part = whole.state_dict(["video1"])
    assert list(part["videos"]) == ["video1"]


def test_per_video_is_the_metric_of_that_video_alone(name: str) -> None:
    factory, kind = FACTORIES[name]
    both = factory()
    for seed in range(2):
        both.update(*make(kind, seed))
        alone = factory()
        alone.update(*make(kind, seed))
        assert both.per_video()[f"video{seed}"] == pytest.approx(alone.compute(), nan_ok=True)
    assert not set(both.compute()) - set(both.per_video()["video0"])


def renumbered(video: Video, kind: str) -> Video:
    """Other ids for the tracks, and another order; beyond 65,535, too."""
    original, prediction = video
    truth = original
    new = {1: 70_001, 2: 3, 5: 300, 9: 1}
    tracks = [replace(t, id=new[t.id]) for t in prediction.tracks]
    if kind == "vos":
        objects = tuple(replace(o, id=new[o.id]) for o in truth.objects)

        def read(t: int) -> object:
            annotation = original.read_truth(t)
            order = np.argsort([new[i] for i in annotation.ids])
            ids = tuple(new[annotation.ids[k]] for k in order)
            return replace(annotation, ids=ids, masks=annotation.masks[order])

        ordered = tuple(sorted(objects, key=lambda o: o.id))
        truth = replace(truth, objects=ordered, read_truth=read)
    return truth, replace(prediction, tracks=tuple(tracks[::-1]))


def test_ids_and_order_change_nothing(name: str) -> None:
    factory, kind = FACTORIES[name]
    plain, other = factory(), factory()
    for seed in range(2):
        plain.update(*make(kind, seed))
        other.update(*renumbered(make(kind, seed), kind))
    assert other.compute() == pytest.approx(plain.compute(), nan_ok=True, abs=1e-12)
    assert 0 < plain.compute()[MAIN[name][0]] < 1


def test_record_does_not_grow_with_the_masks(name: str) -> None:
    factory, kind = FACTORIES[name]
    small, large = factory(), factory()
    truth, prediction = make(kind, 0)
    small.update(truth, prediction)

    def doubled(masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return masks.repeat(2, axis=-1).repeat(2, axis=-2)

    size = (SHAPE[1] * 2, SHAPE[2] * 2)

    def read(t: int) -> object:
        annotation = truth.read_truth(t)
        semantic = annotation.semantic
        assert semantic is not None
        return replace(annotation, masks=doubled(annotation.masks), semantic=doubled(semantic))

    found = {t.id: doubled(t.masks()) for t in prediction.tracks}
    labels = {t.id: STREET.index(t.label) for t in prediction.tracks if t.label}
    if kind == "vos":
        bigger = followed(found)
    else:
        semantic = None
        if prediction.has_semantic:
            semantic = doubled(np.stack([prediction.semantic(t) for t in range(SHAPE[0])]))
        bigger = predicted_video(found, labels=labels, semantic=semantic)
    large.update(replace(truth, size=size, read_truth=read), bigger)
    before, after = (len(json.dumps(m.state_dict())) for m in (small, large))
    assert after < 1.3 * before


def test_refusals(name: str) -> None:
    factory, kind = FACTORIES[name]
    metric = factory()
    truth, prediction = make(kind, 0)
    with pytest.raises(ValueError, match="size"):
        metric.update(replace(truth, size=(1, 2)), prediction)
    with pytest.raises(ValueError, match="num_frames"):
        metric.update(replace(truth, num_frames=3), prediction)
    with pytest.raises(ValueError, match="no annotation"):
        metric.update(replace(truth, annotated=()), prediction)
    assert metric.videos == ()
    metric.update(truth, prediction)
    with pytest.raises(ValueError, match="judged before"):
        metric.update(truth, prediction)
    with pytest.raises(ValueError, match="judged before: video0"):
        metric.load_state_dict(metric.state_dict())
    state = factory().state_dict() | {"metric": "Other"}
    with pytest.raises(ValueError, match="must have metric"):
        factory().load_state_dict(state)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (VPQ(), VPQ((1, 2))),
        (VideoConsistency(), VideoConsistency((8,))),
        (JAndF(), JAndF("all")),
        (TrackAP(), TrackAP(top_k=3)),
        (HOTA(), HOTA.burst()),
    ],
)
def test_a_state_with_other_settings_is_refused(one: VideoMetric, other: VideoMetric) -> None:
    with pytest.raises(ValueError, match="must have settings"):
        one.load_state_dict(other.state_dict())
    one.load_state_dict(json.loads(json.dumps(one.state_dict())))


@pytest.mark.parametrize("metric", [TrackAP, PQ, STQ, MeanIoU])
def test_classes_are_the_same_by_name(metric: Callable[[], VideoMetric]) -> None:
    kind = "vis" if metric is TrackAP else "vps"
    truth, prediction = make(kind, 1)
    plain, shuffled = metric(), metric()
    plain.update(truth, prediction)
    # The dataset counts its classes in another order than the model.
    order = [3, 1, 0, 2]
    vocabulary = STREET.subset([STREET.classes[i] for i in order])
    new = np.append(np.argsort(order), -1)

    def read(t: int) -> object:
        annotation = truth.read_truth(t)
        assert annotation.semantic is not None
        return replace(annotation, semantic=new[annotation.semantic].astype(np.int16))

    objects = tuple(replace(o, label=int(new[o.label or 0])) for o in truth.objects)
    moved = replace(truth, vocabulary=vocabulary, read_truth=read, objects=objects)
    shuffled.update(moved, prediction)
    assert shuffled.compute() == pytest.approx(plain.compute(), nan_ok=True)
    lacking = replace(truth, vocabulary=STREET.subset(["road", "sky", "car"]), objects=())
    with pytest.raises(ValueError, match="no class 'person'"):
        metric().update(lacking, prediction)
    with pytest.raises(ValueError, match="no vocabulary"):
        metric().update(replace(truth, vocabulary=None), prediction)


@pytest.mark.parametrize("task", ["vis", "vps", "vss", "vos", "pet", "refvos"])
def test_truth_as_the_prediction_is_perfect_in_the_synthetic_world(task: str) -> None:
    video = SyntheticWorld(world_config("tiny"), seed=4, length=1, task=task)[0]
    truths = [video.read_truth(t) for t in video.annotated]
    ids = [obj.id for obj in video.objects]
    masks = {i: np.zeros((video.num_frames, *video.size), dtype=bool) for i in ids}
    for t, truth in zip(video.annotated, truths, strict=True):
        for i, mask in zip(truth.ids, truth.masks, strict=True):
            masks[i][t] = mask
    assert video.vocabulary is not None
    labels = {obj.id: int(obj.label or 0) for obj in video.objects}
    semantic = np.stack([t.semantic for t in truths if t.semantic is not None])
    options: dict[str, Any] = {"vocabulary": video.vocabulary, "labels": labels}
    if task in ("vos", "pet"):
        prediction = followed(masks, video.hint_frames)
    elif task == "refvos":
        texts = [e.text for e in video.expressions]
        meant = [np.any([masks[i] for i in e.object_ids], axis=0) for e in video.expressions]
        prediction = predicted_video(dict(enumerate(meant, 1)), task=RefVOS(texts))
    elif task == "vis":
        prediction = predicted_video(masks, **options)
    else:
        shown = masks if task == "vps" else {}
        prediction = predicted_video(shown, semantic=semantic, **options)
    for factory in metrics_for(task):
        metric = factory()
        metric.update(video, prediction)
        main = next(iter(metric.compute().values()))
        # The tiny world may be too short for a window of mVC.
        assert main == pytest.approx(1) or isinstance(metric, VideoConsistency)


def test_every_dataset_has_metrics() -> None:
    for dataset in list_datasets():
        assert metrics_for(dataset)


def test_table() -> None:
    for dataset in ("youtube_vis_2021", "kitti_step", "burst", "davis2017", "vos", "vss"):
        factories = metrics_for(dataset)
        assert factories
        assert all(isinstance(make_metric(), VideoMetric) for make_metric in factories)
    assert isinstance(metrics_for("kitti_step")[0](), STQ)
    vpq = metrics_for("vipseg")[0]()
    assert isinstance(vpq, VPQ)
    assert vpq.windows == (1, 2, 4, 6)
    with pytest.raises(ValueError, match="did you mean 'davis2017'"):
        metrics_for("davis207")


@pytest.mark.parametrize(
    ("metric", "module"), [(TrackAP, "pycocotools"), (HOTA, "trackeval"), (HOTA.burst, "trackeval")]
)
def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, metric: Callable[[], VideoMetric], module: str
) -> None:
    class Nowhere:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            if name == module:
                raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    for known in [m for m in sys.modules if m.partition(".")[0] == module]:
        monkeypatch.delitem(sys.modules, known)
    monkeypatch.setattr(sys, "meta_path", [Nowhere, *sys.meta_path])
    with pytest.raises(ImportError, match=r"pip install 'segblocks\[eval\]'"):
        metric()


@pytest.mark.parametrize(
    "wrong",
    [
        partial(VPQ, ()),
        partial(VPQ, (0, 1)),
        partial(VideoConsistency, (1,)),
        partial(VideoConsistency, ()),
        partial(JAndF, "some"),
        partial(HOTA, similarity="pixel"),
    ],
)
def test_options_are_checked(wrong: Callable[[], VideoMetric]) -> None:
    with pytest.raises(ValueError, match="got"):
        wrong()


TASKS: dict[str, Task] = {
    "vis": VIS(STREET),
    "vps": VPS(STREET),
    "vss": VSS(STREET),
    "vos": VOS(np.ones((1, *SHAPE[1:]), dtype=bool)),
    "pet": PET(np.zeros((1, 2))),
    "refvos": RefVOS(["a car"]),
}
JUDGED = {
    "TrackAP": {"vis", "vps"},
    "HOTA": {"vis", "vps", "vos", "pet"},
    "JAndF": {"vos", "pet", "refvos"},
    "GScore": {"vos", "pet", "refvos"},
    "PQ": {"vps"},
    "VPQ": {"vps"},
    "STQ": {"vps"},
    "MeanIoU": {"vps", "vss"},
    "VideoConsistency": {"vps", "vss"},
}


@pytest.mark.parametrize("task", TASKS)
def test_predictions_of_other_tasks_are_refused(name: str, task: str) -> None:
    if task in JUDGED[name]:
        assert isinstance(TASKS[task], FACTORIES[name][0]().tasks)
        return
    video, prediction = make(FACTORIES[name][1], 0)
    with pytest.raises(ValueError, match=f"{name}: .*must be of a task of .*, got one of '{task}'"):
        FACTORIES[name][0]().update(video, replace(prediction, task=TASKS[task]))
