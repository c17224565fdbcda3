"""GvSeg: its queries by task, and what it makes of videos."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import segblocks
from segblocks import EVS, PET, VIS, VOS, VPS, VSS
from segblocks.zoo import CheckpointError, GvSeg, GvSegConfig, Mask2FormerVIS, Mask2FormerVISConfig
from segblocks.zoo.gvseg import start_from

SMALL = {
    "embed_dim": 32,
    "num_heads": 4,
    "neck_layers": 1,
    "neck_hidden_dim": 32,
    "decoder_layers": 3,
    "decoder_hidden_dim": 32,
}
CLASSES = ("sky", "dog", "cat", "road")
CONFIG = GvSegConfig(
    backbone="tf_efficientnet_lite0",
    vocabulary=CLASSES,
    things=(1, 2),
    num_queries=8,
    query_hidden_dim=32,
    short_side=64,
    **SMALL,
)
VOCABULARY = CONFIG.resolve()


@pytest.fixture(scope="module")
def model() -> GvSeg:
    torch.manual_seed(0)
    model = GvSeg(CONFIG)
    # Masks that are neither empty nor full, so that things are there to be followed.
    with torch.no_grad():
        for parameter in model.decoder.steps[0].parameters():
            parameter.mul_(1.5)
    return model.eval()


def video(num_frames: int, size: tuple[int, int] = (64, 96)) -> np.ndarray:
    generator = np.random.default_rng(0)
    return generator.integers(0, 255, (num_frames, *size, 3)).astype(np.uint8)


def two_masks() -> np.ndarray:
    masks = np.zeros((2, 64, 96), bool)
    masks[0, 10:30, 10:30] = masks[1, 40:60, 50:80] = True
    return masks


def clip(num_frames: int = 3) -> torch.Tensor:
    return torch.from_numpy(video(num_frames)).permute(0, 3, 1, 2)[None]


def test_queries_begin_as_the_task_asks(model: GvSeg) -> None:
    groups = {
        VIS: {"instance": slice(0, 8)},
        VPS: {"instance": slice(0, 8), "semantic": slice(8, 10)},
        VSS: {"semantic": slice(0, 4)},
    }
    for task, want in groups.items():
        output = model(clip(), task(VOCABULARY))
        assert output.groups == want
        number = max(part.stop for part in want.values())
        assert output.class_logits.shape == (1, number, 5)
        assert output.shapes.shape == (1, number, 3, 32)
        stuff = want.get("semantic", slice(0, 0))
        assert not output.shapes[:, stuff].any()
    output = model(clip(), [VOS(two_masks()), PET([(4, 4)])])
    assert output.groups == {"object": slice(0, 3), "object_background": slice(3, 8)}
    assert output.class_logits.shape == (1, 8, 2)
    assert output.object_ids == (1, 2, 3)


def test_what_hinted_objects_begin_from_is_under_the_hints(model: GvSeg) -> None:
    frames = clip()
    levels = model.neck(model.extract(frames))
    output = model(frames, VOS({1: two_masks()}))
    want = model.hint_queries.read_masks(
        levels[4][0], torch.from_numpy(two_masks()), torch.tensor([1, 1])
    )
    torch.testing.assert_close(output.object_features, want)
    box = model(frames, EVS(boxes={2: [(10.0, 10.0, 30.0, 30.0)]})).object_features
    assert not torch.equal(box[0], output.object_features[0])


def test_switched_off_it_is_the_decoder_of_mask2former(model: GvSeg) -> None:
    frames, task = clip(), VIS(VOCABULARY)
    told = model(frames, task)
    plain = GvSeg(replace(CONFIG, injection=False)).eval()
    state = {
        name.replace(f"blocks.{n}.", f"blocks.{n - 1}.") if (n := _block(name)) > 2 else name: v
        for name, v in model.state_dict().items()
    }
    plain.load_state_dict(state)
    untold = plain(frames, task)
    assert not torch.equal(told.queries[-1], untold.queries[-1])
    hesitant = GvSeg(replace(CONFIG, min_thing_score=0.9999)).eval()
    hesitant.load_state_dict(model.state_dict())
    assert torch.equal(hesitant(frames, task).queries[-1], untold.queries[-1])


def _block(name: str) -> int:
    return int(name.split(".")[2]) if name.startswith("decoder.blocks.") else 0


@pytest.mark.parametrize("num_frames", [1, 2, 3, 4, 7])
def test_videos_of_any_length_give_all_their_frames(model: GvSeg, num_frames: int) -> None:
    frames = video(num_frames)
    for task in (VIS(VOCABULARY), VPS(VOCABULARY), VSS(VOCABULARY), VOS(two_masks())):
        results = list(segblocks.stream(model, frames, task))
        assert [result.index for result in results] == list(range(num_frames))
        assert all(result.masks.shape[1:] == (64, 96) for result in results)
    with_map = list(segblocks.stream(model, frames, VSS(VOCABULARY)))
    assert all((result.semantic >= 0).all() for result in with_map)


def test_a_still_video_keeps_its_ids(model: GvSeg) -> None:
    frames = np.repeat(video(1), 9, axis=0)
    for task in (VIS(VOCABULARY), VOS(two_masks())):
        results = list(segblocks.stream(model, frames, task))
        early, late = results[4], results[7]
        common = [i for i in early.ids if i in late.ids]
        assert common
        for i in common:
            a, b = early.masks[early.ids.index(i)], late.masks[late.ids.index(i)]
            assert np.array_equal(a, b)


def test_given_masks_are_kept_and_objects_enter_at_their_frame(model: GvSeg) -> None:
    masks = two_masks()
    task = VOS({1: masks[:1], 5: masks[1:]}, ids={1: [7], 5: [3]})
    results = list(segblocks.stream(model, video(8), task))
    assert [result.ids for result in results] == [(7, 3)] * 8
    assert not results[0].masks.any()
    assert np.array_equal(results[1].masks[0], masks[0])
    assert not any(result.masks[1].any() for result in results[:5])
    assert np.array_equal(results[5].masks[1], masks[1])
    for result in results:
        assert result.masks.sum(0).max() <= 1


def test_points_boxes_and_masks_go_through_a_video(model: GvSeg) -> None:
    tasks = [
        PET({2: [(20, 20)]}),
        EVS(boxes={1: [(10, 10, 30, 30)]}),
        EVS(masks={4: two_masks()}),
        VOS(two_masks()),
    ]
    together = segblocks.segment(model, video(7), tasks)
    assert [len(result.tracks) for result in together] == [1, 1, 2, 2]
    assert all(result.num_frames == 7 for result in together)


def test_only_the_best_things_are_returned(model: GvSeg) -> None:
    result = segblocks.segment(model, video(6), VIS(VOCABULARY), max_instances=3)
    assert len(result.tracks) <= 3
    scores = [track.score for track in result.tracks]
    everything = segblocks.segment(model, video(6), VIS(VOCABULARY))
    assert sorted(scores) == sorted(track.score for track in everything.tracks)[-len(scores) :]


def test_panoptic_segments_do_not_overlap(model: GvSeg) -> None:
    for result in segblocks.stream(model, video(3), VPS(VOCABULARY), min_score=0.0, min_share=0.0):
        covered = result.masks.sum(0) + (result.semantic >= 0)
        assert covered.max() <= 1
        assert set(np.unique(result.semantic)) <= {-1, 0, 3}
        assert all(label in ("dog", "cat") for label in result.labels)


def test_classes_begin_from_what_was_seen() -> None:
    torch.manual_seed(0)
    model = GvSeg(CONFIG).eval()
    before = model(clip(), VSS(VOCABULARY)).queries[0]
    for _ in range(10):
        model.class_queries.update(torch.randn(1, 32), torch.tensor([2]))
    moved = (model(clip(), VSS(VOCABULARY)).queries[0] - before).abs().amax((0, 2)) > 1e-4
    assert moved.tolist() == [False, False, True, False]
    subset = VSS(VOCABULARY, classes=("cat", "sky"))
    torch.testing.assert_close(
        model(clip(), subset).queries[0], model(clip(), VSS(VOCABULARY)).queries[0][:, [2, 0]]
    )


def test_training_passes_clips_of_several_tasks_and_all_weights_learn() -> None:
    torch.manual_seed(0)
    model = GvSeg(CONFIG)
    frames = torch.cat([clip()] * 3)
    chosen = []

    def select(output):
        mask = torch.zeros(output.queries[-1].shape[:2], dtype=torch.bool)
        mask[0, 1] = True
        assert output.class_logits.shape[-1] == (2 if "object" in output.groups else 5)
        chosen.append(mask)
        return mask

    outputs = model.forward_clips(
        frames,
        [VPS(VOCABULARY), VOS(two_masks()), PET([(4, 4)])],
        generators=[torch.Generator().manual_seed(n) for n in range(3)],
        selections=[select] * 3,
    )
    assert len(chosen) == 9
    assert all(output.shapes is None for output in outputs)
    with pytest.raises(ValueError, match="as GvSeg returns them in evaluation"):
        outputs[0].looks(slice(0, 8))
    loss = sum(
        (
            o.mask_logits.square().mean()
            + o.class_logits.square().mean()
            + o.embeddings.square().mean()
        )
        for o in outputs
    )
    loss.backward()
    idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle


def test_other_moments_are_segmented_by_themselves() -> None:
    torch.manual_seed(0)
    model = GvSeg(CONFIG).train()
    frames = clip(5)
    for task in (VPS(VOCABULARY), VOS({1: two_masks()})):
        (output,) = model.forward_clips(frames, [task], references=2)
        assert [o.frame_indices for o in (output, *output.references)] == [(0, 1, 2), (3,), (4,)]
        assert [o.mask_features.shape[1] for o in output.references] == [1, 1]
        assert all(o.groups == output.groups for o in output.references)
    for moment in output.references:
        assert moment.object_ids == (1, 2)
        assert torch.equal(moment.object_features, output.object_features)
    model.eval()
    (output,) = model.forward_clips(frames, [VIS(VOCABULARY)], references=2)
    alone = model(frames[:, 4:], VIS(VOCABULARY))
    torch.testing.assert_close(output.references[1].mask_logits, alone.mask_logits)
    with pytest.raises(ValueError, match="references must be from 0 to 4"):
        model.forward_clips(frames, [VIS(VOCABULARY)], references=5)


def test_it_is_saved_and_loaded_whole(model: GvSeg, tmp_path) -> None:
    model.class_queries.means.normal_()
    model.class_queries.seen.fill_(10)
    model.save_pretrained(tmp_path / "saved")
    again = segblocks.zoo.from_pretrained(tmp_path / "saved").eval()
    a, b = (m(clip(), VPS(VOCABULARY)).mask_logits for m in (model, again))
    assert torch.equal(a, b)


def test_it_starts_from_mask2former() -> None:
    torch.manual_seed(0)
    small = {**SMALL, "backbone": CONFIG.backbone}
    image = Mask2FormerVIS(Mask2FormerVISConfig(vocabulary=("cat", "chair"), **small))
    for injection in (True, False):
        model = GvSeg(replace(CONFIG, injection=injection))
        assert start_from(model, image.state_dict(), ("cat", "chair")) == ("cat",)
        ours = [type(s).__name__ for s in model.decoder.steps if list(s.parameters())]
        assert ours == [type(s).__name__ for s in image.decoder.steps]
        rows = [step for step in model.decoder.steps if list(step.parameters())]
        for step, other in zip(rows[1:], image.decoder.steps[1:], strict=True):
            if type(step).__name__ != "Predict":
                for a, b in zip(step.parameters(), other.parameters(), strict=True):
                    assert torch.equal(a, b)
        head, other = (m.decoder.steps[0].class_head.linear for m in (model, image))
        assert torch.equal(head.weight[2], other.weight[0])
        assert torch.equal(head.weight[-1], other.weight[-1])
    with pytest.raises(ValueError, match="classes must be 2"):
        start_from(model, image.state_dict(), ("cat",))
    wide = Mask2FormerVIS(Mask2FormerVISConfig(**{**small, "decoder_hidden_dim": 48}))
    with pytest.raises(CheckpointError, match="missing, unexpected or misshapen: decoder"):
        start_from(model, wide.state_dict())


def test_wrong_arguments_are_named(model: GvSeg) -> None:
    with pytest.raises(ValueError, match="each has to be asked in a pass of its own"):
        model(clip(), [VIS(VOCABULARY), VOS(two_masks())])
    with pytest.raises(ValueError, match="it lacks"):
        model(clip(), VIS("ovis"))
    with pytest.raises(ValueError, match="overlap must be 0"):
        model.video_policy(VIS(VOCABULARY), overlap=1)
    with pytest.raises(ValueError, match="hints must lie on frames 0 to 2"):
        model(clip(), VOS({3: two_masks()}))
    with pytest.raises(ValueError, match="take one clip"):
        model(torch.cat([clip()] * 2), VOS(two_masks()))
    with pytest.raises(ValueError, match="reading must be one of"):
        GvSegConfig(reading="loose")


def test_clips_by_hand_equal_segment(model: GvSeg) -> None:
    frames, masks = video(6), two_masks()
    for task in (VIS(VOCABULARY), VOS(masks)):
        policy = model.video_policy(task)
        state = policy.start((64, 96), (64, 96))
        found = []
        for start in (0, 3):
            part = torch.from_numpy(frames[start : start + 3]).permute(0, 3, 1, 2)[None]
            asked = policy.hints(state, 3)
            with torch.no_grad():
                output = model(part, asked, state=state)
            found += [results[0] for results in policy.merge(output, state, last=start == 3)]
        for ours, theirs in zip(found, segblocks.stream(model, frames, task), strict=True):
            assert ours.ids == theirs.ids
            assert np.array_equal(ours.masks, theirs.masks)
