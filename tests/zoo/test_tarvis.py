"""The TarViS model: tasks in, outputs out; a slim one, since the full one has parity tests."""

from __future__ import annotations

import copy
import dataclasses
import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from segblocks.inference import segment
from segblocks.nn import Queries
from segblocks.tasks import EVS, PET, VIS, VOS, VPS, VSS, HintTask, Task
from segblocks.zoo.tarvis import TarViS, TarViSConfig

SLIM = TarViSConfig(
    vocabularies=("kitti_step", "ovis"),
    embed_dim=32,
    num_heads=4,
    neck_layers=1,
    neck_hidden_dim=32,
    decoder_layers=3,
    decoder_hidden_dim=32,
    encoder_layers=1,
    encoder_hidden_dim=32,
    num_instance_queries=6,
)
HEIGHT, WIDTH = 60, 100


@functools.cache
def slim() -> TarViS:
    torch.manual_seed(0)
    return TarViS(SLIM).eval()


def frames(batch: int = 1, count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    shape = (batch, count, 3, HEIGHT, WIDTH)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)


def box(*corners: tuple[int, int, int, int]) -> np.ndarray:
    masks = np.zeros((len(corners), HEIGHT, WIDTH), dtype=bool)
    for mask, (x0, y0, x1, y1) in zip(masks, corners, strict=True):
        mask[y0:y1, x0:x1] = True
    return masks


MASKS = box((5, 5, 40, 30), (50, 10, 90, 55))


@torch.no_grad()
def run(task: Task | list[Task], **kwargs: object) -> object:
    return slim()(frames(), task, **kwargs)


@pytest.mark.parametrize("kind", [VIS, VPS])
def test_classes_are_queries(kind: type) -> None:
    output = run(kind("ovis"))
    sizes = {name: part.stop - part.start for name, part in output.groups.items()}
    assert sizes == {"instance": 6, "background": 1, "semantic": 25}
    assert output.mask_logits.shape == (1, 32, 3, 16, 32)
    assert output.class_logits.shape == (1, 6, 26)
    assert output.class_group == "instance"
    assert len(output.queries) == len(output.mask_embeddings) == 4
    assert output.model_size == (HEIGHT, WIDTH)


def test_vocabularies_of_ones_own(tmp_path: Path) -> None:
    farm = ("farm", ("hen", "grass"), (0,))
    model = TarViS(dataclasses.replace(SLIM, vocabularies=(farm, "ovis"))).eval()
    assert model.queries.semantic_rows(VIS(["hen"]).resolve()) == [0]
    assert model.queries.semantic_rows(VIS("ovis").resolve())[0] == 2
    with torch.no_grad():
        output = model(frames(), VPS(["hen", "grass"]))
    assert output.class_logits.shape == (1, 6, 3)
    model.save_pretrained(tmp_path / "farm")
    again = TarViS.from_pretrained(tmp_path / "farm")
    assert again.config == model.config
    with pytest.raises(ValueError, match="a vocabulary must be a known name or"):
        dataclasses.replace(SLIM, vocabularies=(("hen",),))
    with pytest.raises(ValueError, match="there is no vocabulary 'ovi'; did you mean 'ovis'"):
        dataclasses.replace(SLIM, vocabularies=("ovi",))


def test_a_subset_of_classes_takes_their_queries() -> None:
    queries = slim().queries
    names = ["Fish", "Person"]
    rows = queries.semantic_rows(VIS("ovis", classes=names).resolve())
    whole = queries.semantic_rows(VIS("ovis").resolve())
    ovis = VIS("ovis").resolve()
    assert rows == [whole[ovis.index(name)] for name in names]
    assert min(whole) == 19  # after the classes of kitti_step
    assert queries.semantic_rows(VIS(names).resolve()) == rows
    with pytest.raises(
        ValueError, match=r"vocabulary must be one of kitti_step, ovis.*youtube_vis"
    ):
        run(VIS("youtube_vis_2021"))


def test_clips_of_a_batch_do_not_mix() -> None:
    video = frames(batch=2)
    with torch.no_grad():
        both = slim()(video, VIS("ovis"))
        alone = slim()(video[1:], VIS("ovis"))
    torch.testing.assert_close(both.queries[-1][1], alone.queries[-1][0], atol=1e-4, rtol=1e-4)


def test_clips_with_tasks_of_their_own_come_out_as_alone() -> None:
    video = frames(batch=4)
    tasks = [
        VIS("ovis"),
        [VOS({1: MASKS}), PET([(10, 10)])],
        VOS(MASKS[:1]),
        [VOS(MASKS[::-1]), PET({2: [(70, 30)]})],
    ]
    with torch.no_grad():
        outputs = slim().forward_clips(video, tasks)
        for b, task in enumerate(tasks):
            alone = slim()(video[b : b + 1], task)
            assert outputs[b].groups == alone.groups
            assert outputs[b].object_slices == alone.object_slices
            assert outputs[b].object_ids == alone.object_ids
            torch.testing.assert_close(
                outputs[b].mask_logits, alone.mask_logits, atol=1e-3, rtol=1e-3
            )
            if alone.class_logits is not None:
                torch.testing.assert_close(
                    outputs[b].class_logits, alone.class_logits, atol=1e-4, rtol=1e-4
                )


def test_clips_need_a_task_each() -> None:
    with pytest.raises(ValueError, match="tasks must be 2, one a clip, got 1"):
        slim().forward_clips(frames(batch=2), [VIS("ovis")])


def test_masks_and_points_become_objects() -> None:
    output = run(VOS(MASKS))
    assert output.groups == {"object_background": slice(0, 16), "object": slice(16, 32)}
    assert output.object_slices == (slice(16, 24), slice(24, 32))
    assert output.object_ids == (1, 2)
    assert output.class_logits is None
    output = run(PET({0: [(10, 10)], 2: [(70, 30), (20, 20)]}))
    assert output.object_slices == (slice(16, 17), slice(17, 18), slice(18, 19))


def test_several_tasks_share_one_pass() -> None:
    output = run([PET([(10, 10)]), VIS("ovis", classes=["Person"]), VOS(MASKS)])
    sizes = {name: part.stop - part.start for name, part in output.groups.items()}
    assert sizes == {
        "instance": 6, "background": 1, "semantic": 1, "object_background": 16, "object": 17
    }  # fmt: skip
    start = output.groups["object"].start
    # the point comes first among the tasks, and its query behind those of the masks
    assert output.object_slices == (
        slice(start + 16, start + 17), slice(start, start + 8), slice(start + 8, start + 16)
    )  # fmt: skip
    assert output.class_logits.shape == (1, 6, 2)


def test_a_repeated_id_is_another_reference_of_the_object() -> None:
    later = box((20, 20, 60, 50))
    one = run(VOS({0: MASKS[:1], 2: later}, ids={0: [7], 2: [7]}))
    assert one.object_ids == (7,)
    two = run(VOS({0: MASKS[:1], 2: later}))
    assert two.object_ids == (1, 2)
    points = run(PET({0: [(10, 10)], 1: [(12, 10)]}, ids={0: [3], 1: [3]}))
    assert points.object_slices == (slice(16, 18),)


def test_cached_features_give_the_same_output() -> None:
    video = frames()
    with torch.no_grad():
        pyramids = [slim().extract(video[:, t : t + 1]) for t in range(3)]
        cached = {s: torch.cat([p[s] for p in pyramids], dim=1) for s in pyramids[0]}
        got = slim()(video, VIS("ovis"), features=cached)
        want = slim()(video, VIS("ovis"))
    torch.testing.assert_close(got.mask_logits, want.mask_logits, atol=1e-4, rtol=1e-4)


def test_padding_is_the_published_one() -> None:
    seen = {}
    handle = slim().backbone.register_forward_pre_hook(lambda _, x: seen.update(x=x[0]))
    run(VIS("ovis"))
    handle.remove()
    assert seen["x"].shape == (1, 3, 3, 64, 128)
    mean, std = slim().pixel_mean, slim().pixel_std
    assert torch.equal(seen["x"][0, 0, :, -1, -1], (128 - mean) / std)
    first = frames()[0, 1, :, 7, 9]
    torch.testing.assert_close(seen["x"][0, 1, :, 7, 9], (first - mean) / std)


def test_state_counts_frames() -> None:
    first = run(VIS("ovis"))
    assert first.frame_indices == (0, 1, 2)
    policy = slim().video_policy(VIS("ovis"), clip_length=3, overlap=1)
    assert [r.index for (r,) in policy.merge(first, first.state)] == [0, 1]
    second = run(VIS("ovis"), state=first.state)
    assert second.frame_indices == (2, 3, 4)
    assert second.state is first.state
    late = run(VOS({1: MASKS}), frame_indices=[4, 5, 6])
    assert late.frame_indices == (4, 5, 6)
    policy = slim().video_policy(VOS({5: MASKS}), clip_length=3, overlap=1)
    merged = list(policy.merge(late, late.state, last=True))
    assert [r.index for (r,) in merged] == [4, 5, 6]
    assert not merged[0][0].masks.any()  # before the hint


def test_training_takes_fewer_queries_an_object_and_has_gradients() -> None:
    model = TarViS(SLIM).train()
    output = model(frames(), [VIS("ovis"), VOS(MASKS)])
    assert output.object_slices[0] == slice(
        output.groups["object"].start, output.groups["object"].start + 4
    )
    losses = [a.mask_logits.square().mean() for a in (*output.auxiliary, output)]
    (sum(losses) + output.class_logits.square().mean()).backward()
    untouched = {n for n, p in model.named_parameters() if p.requires_grad and p.grad is None}
    expected = ("mask_head.embeddings.free", "projections.object", "queries.object_background",
                "object_encoder.point")  # fmt: skip
    assert all(any(part in name for part in expected) for name in untouched), untouched


def test_a_model_has_a_size_of_its_own_unless_told() -> None:
    small = TarViS(dataclasses.replace(SLIM, short_side=96))
    assert small.video_policy(VIS("ovis")).short_side == 96
    assert small.video_policy(VIS("ovis"), short_side=None).short_side == 96
    assert small.video_policy(VIS("ovis"), short_side=64).short_side == 64
    assert slim().video_policy(VIS("ovis")).short_side == 576
    longer = TarViS(dataclasses.replace(SLIM, clip_length=20))
    assert longer.video_policy(VIS("ovis")).overlap == 10
    assert longer.video_policy(VIS("ovis"), clip_length=8).overlap == 4


def test_one_frame_and_no_temporal_attention() -> None:
    with torch.no_grad():
        assert slim()(frames(count=1), VIS("ovis")).mask_logits.shape[2] == 1
        still = TarViS(dataclasses.replace(SLIM, cells=())).eval()
        assert not any("temporal" in name for name in still.state_dict())
        assert still(frames(), VIS("ovis")).mask_logits.isfinite().all()


@pytest.mark.parametrize("how", ["autocast", "weights"])
def test_bfloat16_is_close(how: str) -> None:
    want = run([VIS("ovis"), VOS(MASKS)])
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast"):
        model = slim() if how == "autocast" else copy.deepcopy(slim()).bfloat16()
        got = model(frames(), [VIS("ovis"), VOS(MASKS)])
    for ours, exact in (
        (got.mask_features, want.mask_features),
        (got.queries[0], want.queries[0]),
        (got.mask_logits, want.mask_logits),
    ):
        assert (ours.float() - exact).norm() / exact.norm() < 0.05


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="task must be one of vis, vps, vos, pet, got vss"):
        run(VSS("ovis"))
    for shape in ((3, 60, 100), (1, 0, 3, 60, 100)):
        with pytest.raises(ValueError, match=r"frames must have shape \(B, T, 3, H, W\)"):
            slim().extract(torch.zeros(shape))
    with pytest.raises(TypeError, match="frames must be a tensor, got ndarray"):
        slim()(np.zeros((1, 2, 3, 60, 100)), VIS("ovis"))
    other = slim().extract(frames(count=2))
    with pytest.raises(ValueError, match="features must be of the frames"):
        slim()(frames(), VIS("ovis"), features=other)
    with pytest.raises(ValueError, match="frame_indices must name 3 frames, got 2"):
        run(VIS("ovis"), frame_indices=[1, 2])
    with pytest.raises(ValueError, match=r"which of kitti_step, .* is meant"):
        TarViS(
            dataclasses.replace(SLIM, vocabularies=("kitti_step", "cityscapes_vps"))
        ).queries.semantic_rows(VIS(["car"]).resolve())
    with pytest.raises(ValueError, match="tasks with hints take one clip, got 2"):
        slim()(frames(batch=2), VOS(MASKS))
    with pytest.raises(ValueError, match="frames 0 to 2 of the clip, got frame 5"):
        run(VOS({5: MASKS}))
    with pytest.raises(ValueError, match="mask"):
        run(VOS(np.ones((1, 10, 10), dtype=bool)))
    with pytest.raises(ValueError, match="task must be one of"):
        run(EVS(boxes=[(1, 1, 5, 5)]))


@pytest.mark.parametrize(
    "task",
    [
        VIS("ovis"),
        VOS(MASKS, ids=[9, 4]),
        [VOS(MASKS), VPS("kitti_step"), PET({0: [(10, 20)], 3: [(30, 30)]})],
    ],
    ids=["vis", "vos", "joint"],
)
def test_a_loop_by_hand_equals_segment(task: Task | list[Task]) -> None:
    video = torch.cat([frames(), frames().flip(1)], 1)[:, :5]
    settings = {"clip_length": 3, "overlap": 1}
    tasks = task if isinstance(task, list) else [task]
    policy = slim().video_policy(task, **settings)
    early = [t.window(0, 3) if isinstance(t, HintTask) else t for t in tasks]
    found: list = []
    with torch.no_grad():
        # The first clip may be given the user's own tasks where all of their hints lie in it.
        own = early == tasks or not isinstance(task, list)
        state = None if own else policy.start((HEIGHT, WIDTH), (HEIGHT, WIDTH))
        asked = task if own else policy.hints(state)
        first = slim()(video[:, :3], asked, state=state)
        found += policy.merge(first, first.state)
        second = slim()(video[:, 2:], policy.hints(first.state), state=first.state)
        found += policy.merge(second, first.state, last=True)
    array = video[0].permute(0, 2, 3, 1).numpy()
    results = segment(slim(), array, tasks, short_side=0, **settings)
    assert len(found) == 5
    for number, result in enumerate(results):
        for t, frame in enumerate(found):
            for object_id, mask in zip(frame[number].ids, frame[number].masks, strict=True):
                if object_id in {track.id for track in result.tracks}:
                    assert np.array_equal(result.track(object_id).mask(t), mask)
        assert [track.id for track in result.tracks] or isinstance(tasks[number], VPS)


def decoder_function(model: TarViS) -> nn.Module:
    class Decode(nn.Module):
        """The decoder as a function of tensors, which is what can be exported."""

        def __init__(self) -> None:
            super().__init__()
            self.decoder = model.decoder

        def forward(self, content: Tensor, position: Tensor, levels: dict) -> tuple[Tensor, ...]:
            groups = {"instance": slice(0, 6), "background": slice(6, 7), "semantic": slice(7, 32)}
            queries = Queries(content, position, groups)
            output = self.decoder(queries, self.decoder.context(levels))
            last = output.predictions[-1]
            return output.queries.content, last.mask_embeddings, last.class_logits

    return Decode()


@pytest.mark.parametrize("export", [False, True], ids=["compile", "export"])
def test_neck_and_decoder_compile_whole_and_export(export: bool) -> None:
    model = slim()

    def whole(module: nn.Module, *arguments: object) -> nn.Module:
        if export:
            return torch.export.export(module, arguments).module()
        return torch.compile(module, fullgraph=True, backend="aot_eager")

    with torch.no_grad():
        pyramid = model.extract(frames())
        levels = model.neck(pyramid)
        for stride, level in whole(model.neck, pyramid)(pyramid).items():
            torch.testing.assert_close(level, levels[stride], atol=1e-5, rtol=1e-5)
        decode = decoder_function(model)
        content = torch.cat(
            [model.queries.instance, model.queries.background, model.queries.semantic[19:44]]
        )[None]
        arguments = (content, torch.zeros_like(content), levels)
        for got, want in zip(
            whole(decode, *arguments)(*arguments), decode(*arguments), strict=True
        ):
            torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_a_saved_model_comes_back(tmp_path: object) -> None:
    slim().save_pretrained(f"{tmp_path}/slim")
    again = TarViS.from_pretrained(f"{tmp_path}/slim")
    assert again.config == SLIM
    with torch.no_grad():
        assert torch.equal(again(frames(), VOS(MASKS)).mask_logits, run(VOS(MASKS)).mask_logits)
