"""UniVS through videos whose model answers from a script, so that every track is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import segblocks
from segblocks.nn import ClipOutput, Prediction
from segblocks.tasks import EVS, PET, VIS, VOS, VPS, VSS, HintTask, RefVOS, Task
from segblocks.text import Vocabulary
from segblocks.tracking.entities import EntitySettings
from segblocks.zoo.univs import UniVSPolicy
from segblocks.zoo.univs.state import Recall

SIZE = (32, 64)
STREET = Vocabulary("street", ("car", "dog", "road"), things={0, 1})
STRONG = 8.0


class Thing:
    """A square that is there in some frames, and moves by a pixel a frame."""

    def __init__(
        self, name: str, start: int, stop: int, x: int, y: int = 8, side: int = 12
    ) -> None:
        self.label = STREET.index(name)
        self.start, self.stop = start, stop
        self.x, self.y, self.side = x, y, side

    def mask(self, t: int) -> np.ndarray:
        mask = np.zeros(SIZE, dtype=bool)
        if self.start <= t < self.stop:
            mask[self.y : self.y + self.side, self.x + t : self.x + t + self.side] = True
        return mask


class Scripted(nn.Module):
    """Sees every thing; a prompt means the thing that it covers best when it is first shown."""

    def __init__(self, things: Sequence[Thing]) -> None:
        super().__init__()
        self.things = list(things)
        self.asked: list[list[str]] = []
        self.meant: dict[int, int] = {}
        self.confused: Mapping[int, tuple[int, ...]] = {}

    def extract(self, frames: Tensor) -> dict[int, Tensor]:
        return {4: frames[:, :, :1, ::4, ::4]}

    def video_policy(self, task: Any, **settings: Any) -> UniVSPolicy:
        return UniVSPolicy(task, norm=nn.Identity(), **settings)

    def forward(
        self,
        frames: Tensor,
        tasks: Sequence[Task],
        *,
        frame_indices: Sequence[int],
        state: Any,
        features: Mapping[int, Tensor],
    ) -> ClipOutput:
        self.asked.append([task.name for task in tasks])
        state.prompts.advance(frame_indices[-1] + 1, start=frame_indices[0])
        for task in tasks:
            if isinstance(task, HintTask):
                self.look(task, frame_indices, state)
        spoken = [e for task in tasks if isinstance(task, RefVOS) for e in task.expressions]
        prompts = [self.meant[key] for key in state.prompts.ids]
        rows = [*range(len(self.things)), *prompts, *(STREET.index(e) for e in spoken)]
        count = len(self.things)
        content = torch.eye(count)[rows][None, :, None].expand(-1, -1, len(frame_indices), -1)
        content = content.clone()
        for place, key in enumerate(state.prompts.ids):
            if frame_indices[0] in self.confused.get(key, ()):
                content[:, count + place] *= -1  # embeddings of something else
        masks = [[thing.mask(t)[::4, ::4] for thing in self.things] for t in frame_indices]
        values = torch.from_numpy(np.array(masks)).float() * 2 * STRONG - STRONG
        logits = torch.full((1, len(rows), len(STREET)), -STRONG)
        for row, thing in enumerate(rows):
            logits[0, row, self.things[thing].label] = STRONG
        start, end = count, count + len(prompts)
        groups = {"learnable": slice(0, count), "visual": slice(start, end)}
        return ClipOutput(
            (Prediction(content, content.abs(), logits),),
            values[None],
            {**groups, "grounding": slice(end, len(rows))},
            (SIZE[0], SIZE[1]),
            tuple(frame_indices),
            state=state,
        )

    def look(self, task: HintTask, indices: Sequence[int], state: Any) -> None:
        tokens = torch.ones(state.prompts.num_tokens, 4)
        for frame, hints in task.hints.items():
            for key, value in zip(hints.ids, hints.values, strict=True):
                if key not in state.prompts.ids:
                    state.prompts.add(key, indices[frame])
                shown = [
                    self.covered(thing.mask(indices[frame]), hints.kind, value)
                    for thing in self.things
                ]
                self.meant.setdefault(key, int(np.argmax(shown)))
                state.prompts.write(key, indices[frame], tokens, tokens)

    def covered(self, mask: np.ndarray, kind: str, value: np.ndarray) -> float:
        if kind == "mask":
            return (mask & value[: SIZE[0], : SIZE[1]]).sum()
        x, y = value[:2] if kind == "point" else (value[:2] + value[2:]) / 2
        return mask[int(y), int(x)]


def video(length: int) -> np.ndarray:
    return np.zeros((length, *SIZE, 3), dtype=np.uint8)


def segment(model: Scripted, length: int, task: Any, **settings: Any) -> Any:
    return segblocks.segment(model, video(length), task, short_side=0, **settings)


def truth(thing: Thing, length: int) -> np.ndarray:
    """Its masks at the resolution at which the script is exact."""
    return np.stack([thing.mask(t) for t in range(length)])


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / max((a | b).sum(), 1)


CAR, DOG = Thing("car", 0, 12, 0), Thing("dog", 0, 30, 30)


@pytest.mark.parametrize("length", [1, 3, 5, 6, 14])
def test_instances_keep_their_ids_over_videos_of_any_length(length: int) -> None:
    found = segment(Scripted([CAR, DOG]), length, VIS(STREET))
    assert [track.label for track in found.tracks] == ["car", "dog"]
    for track, thing in zip(found.tracks, (CAR, DOG), strict=True):
        assert iou(track.masks(), truth(thing, length)) > 0.6
        assert track.score > 0.9


def test_an_instance_that_enters_late_is_found_once() -> None:
    late = Thing("dog", 7, 20, 30)
    model = Scripted([CAR, late])
    found = segment(model, 16, VIS(STREET))
    assert [track.label for track in found.tracks] == ["car", "dog"]
    dog = found.tracks[1]
    assert not dog.masks()[:7].any()
    assert iou(dog.masks(), truth(late, 16)) > 0.6
    assert dog.score == pytest.approx(found.tracks[0].score, abs=0.05)  # late, and not diluted
    assert model.meant == {1: 0, 2: 1}


def test_a_video_that_begins_empty_is_not_lost() -> None:
    late = Thing("dog", 8, 20, 30)
    found = segment(Scripted([late]), 16, VIS(STREET))
    assert [track.label for track in found.tracks] == ["dog"]


def test_prompts_alone_carry_instances_where_detection_pauses() -> None:
    model = Scripted([CAR, DOG])
    found = segment(model, 14, VIS(STREET), detect_every=100)
    assert len(found.tracks) == 2
    assert iou(found.tracks[1].masks(), truth(DOG, 14)) > 0.6


def test_stuff_is_a_map_and_things_are_tracks() -> None:
    road = Thing("road", 0, 30, 0, y=20, side=12)
    found = segment(Scripted([CAR, road]), 8, VPS(STREET))
    assert [track.label for track in found.tracks] == ["car"]
    assert set(np.unique(found.semantic(3))) == {2}
    assert found.panoptic(3).ids.max() == len(STREET) + 1


def test_semantic_maps_need_no_overlap_and_no_prompts() -> None:
    model = Scripted([CAR, DOG])
    found = segment(model, 12, VSS(STREET))
    assert len(model.asked) == 3
    t = 7
    assert (found.semantic(t)[CAR.mask(t)] == 0).mean() > 0.7
    assert (found.semantic(t)[DOG.mask(t)] == 1).mean() > 0.7


@pytest.mark.parametrize("length", [1, 4, 5, 6, 11])
def test_hinted_objects_come_out_in_every_frame(length: int) -> None:
    task = VOS(np.stack([DOG.mask(0), CAR.mask(0)]), ids=[9, 4])
    found = segment(Scripted([CAR, DOG]), length, task)
    assert [track.id for track in found.tracks] == [9, 4]
    for track, thing in zip(found.tracks, (DOG, CAR), strict=True):
        assert iou(track.masks(), truth(thing, length)) > 0.6


def test_points_and_boxes_and_late_hints() -> None:
    model = Scripted([CAR, DOG])
    point, box = PET({3: [(36, 12)]}), EVS(boxes={0: [(0, 8, 12, 20)]})
    followed, boxed = segment(model, 10, [point, box])
    assert not followed.tracks[0].masks()[:3].any()
    assert iou(followed.tracks[0].masks()[3:], truth(DOG, 10)[3:]) > 0.6
    assert iou(boxed.tracks[0].masks(), truth(CAR, 10)) > 0.6


def test_frames_before_the_first_hint_are_not_looked_at() -> None:
    model = Scripted([CAR, DOG])
    found = segment(model, 20, VOS({12: DOG.mask(12)[None]}))
    assert found.num_frames == 20
    assert len(model.asked) == 4
    assert iou(found.tracks[0].masks()[12:], truth(DOG, 20)[12:]) > 0.6


def test_a_lost_object_is_asked_for_and_found_again() -> None:
    class Gone(Thing):
        def mask(self, t: int) -> np.ndarray:
            mask = super().mask(t)
            return mask & (not 3 <= t < 14)

    gone = Gone("dog", 0, 30, 30)
    model = Scripted([gone])
    found = segment(model, 20, VOS(gone.mask(0)[None]))
    assert [Recall.name] in model.asked
    masks = found.tracks[0].masks()
    assert not masks[3:14].any()
    assert iou(masks[14:], truth(gone, 20)[14:]) > 0.6


def test_an_object_that_looks_like_another_is_left_out_of_a_clip() -> None:
    model = Scripted([CAR, DOG])
    model.confused = {1: (9,)}
    found = segment(model, 14, VOS(DOG.mask(0)[None]))
    masks = found.tracks[0].masks()
    assert iou(masks[:13], truth(DOG, 14)[:13]) > 0.6
    assert not masks[13].any()  # which the last clip, from frame 9, alone holds


def test_expressions_are_answered_a_clip_at_a_time() -> None:
    model = Scripted([CAR, DOG])
    found = segment(model, 9, RefVOS(["dog", "car"]))
    for track, thing in zip(found.tracks, (DOG, CAR), strict=True):
        assert iou(track.masks(), truth(thing, 9)) > 0.6
    assert all(asked == ["refvos"] for asked in model.asked)
    again = segment(Scripted([CAR, DOG]), 10, RefVOS("dog"), overlap=0)
    assert all(again.tracks[0].masks()[t].any() for t in range(10))  # the last of each clip, too


def test_all_tasks_in_one_pass() -> None:
    model = Scripted([CAR, DOG])
    tasks = [VOS({2: DOG.mask(2)[None]}), VIS(STREET), RefVOS("car"), PET([(4, 12)]), RefVOS("dog")]
    results = segment(model, 9, tasks)
    vos, vis, car, pet, dog = results
    assert [track.label for track in vis.tracks] == ["car", "dog"]
    for result, thing in ((car, CAR), (pet, CAR), (dog, DOG)):
        assert iou(result.tracks[0].masks(), truth(thing, 9)) > 0.6
    assert iou(vos.tracks[0].masks()[2:], truth(DOG, 9)[2:]) > 0.6


def test_streams_forget_what_only_a_summary_needs() -> None:
    things = [Thing("dog", 6 * n, 6 * n + 4, 10 - 6 * n + 3 * n % 20) for n in range(8)]
    settings = EntitySettings(max_entities=2)
    model = Scripted(things)
    states = []
    policy = model.video_policy

    def watch(task: Any, **given: Any) -> UniVSPolicy:
        made = policy(task, **given)
        begin = made.start
        made.start = lambda *a: states.append(begin(*a)) or states[-1]  # type: ignore[method-assign]
        return made

    model.video_policy = watch  # type: ignore[method-assign]
    frames = segblocks.stream(model, video(50), VIS(STREET), short_side=0, entities=settings)
    assert sum(1 for _ in frames) == 50
    assert len(states[0].prompts.ids) <= 2
    assert len(states[0].entities.entities) <= 3


@pytest.mark.parametrize("run", [segblocks.stream, segblocks.segment])
def test_more_instances_than_can_be_asked_for(run: Any) -> None:
    settings = EntitySettings(max_entities=1)
    model = Scripted([CAR, DOG, Thing("dog", 0, 30, 15)])
    frames = run(model, video(12), VIS(STREET), short_side=0, entities=settings)
    count = frames.num_frames if run is segblocks.segment else sum(1 for _ in frames)
    assert count == 12


def test_wrong_settings_are_refused() -> None:
    model = Scripted([CAR])
    with pytest.raises(ValueError, match="overlap must be at least 1 for tasks whose objects go"):
        model.video_policy(VOS(CAR.mask(0)[None]), overlap=0)
    with pytest.raises(ValueError, match="detect_every must be at least 1, got 0"):
        model.video_policy(VIS(STREET), detect_every=0)
    policy = model.video_policy(VIS(STREET))
    state = policy.start(SIZE, SIZE)
    tasks = policy.hints(state, 5)
    assert tasks is not None
    frames = torch.zeros(1, 5, 3, *SIZE)
    output = model(frames, tasks, frame_indices=range(5), state=state, features={})
    other = model.video_policy(VIS(["a", "b"]))
    with pytest.raises(ValueError, match="class_logits must have the 2 classes of classes"):
        other.merge(output, other.start(SIZE, SIZE))
