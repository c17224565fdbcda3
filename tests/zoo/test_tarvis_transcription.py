"""A slim TarViS against the slow transcription, where no recorded activations are."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from segblocks.nn import ClipOutput
from segblocks.tasks import PET, VIS, VOS, Task
from segblocks.zoo.tarvis import TarViS
from segblocks.zoo.tarvis.convert import key_map
from tests.zoo.official_tarvis import OfficialTarViS, Result
from tests.zoo.test_tarvis import HEIGHT, SLIM, WIDTH, box, frames

PADDED = (64, 128)
THREE = box((5, 5, 40, 30), (50, 10, 90, 55), (0, 40, 2, 41))
LATER = box((15, 15, 60, 40), (40, 20, 99, 59), (70, 2, 95, 9))


@functools.cache
def networks() -> tuple[TarViS, OfficialTarViS]:
    """A model with lively weights, and the transcription of it."""
    torch.manual_seed(3)
    model = TarViS(SLIM).eval()
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1 and not name.startswith("backbone"):
            torch.nn.init.normal_(parameter, mean=float(name.endswith("weight")), std=0.2)
    for layer in model.neck.deformable_layers:
        torch.nn.init.normal_(layer.attention.sampling_offsets.weight, std=0.3)
        torch.nn.init.normal_(layer.attention.attention_weights.weight, std=0.3)
    official = key_map("resnet50").export(model.state_dict())
    return model.double(), OfficialTarViS(official, SLIM.num_heads)


def padded(mask: np.ndarray) -> Tensor:
    return F.pad(torch.from_numpy(mask), (0, PADDED[1] - WIDTH, 0, PADDED[0] - HEIGHT))


def run(task: Task | list[Task], video: Tensor) -> tuple[ClipOutput, dict[int, Tensor]]:
    """Our output, and the transcription's features of the same clip."""
    model, official = networks()
    with torch.no_grad():
        pyramid = model.extract(video)
        maps = official.neck({stride: level[0] for stride, level in pyramid.items()})
        return model(video, task, features=pyramid), maps


def assert_same(output: ClipOutput, want: Result) -> None:
    tolerance = {"atol": 1e-7, "rtol": 1e-5}
    for ours, theirs in zip(output.queries, want.states, strict=True):
        torch.testing.assert_close(ours[0], theirs, **tolerance)
    for ours, theirs in zip((*output.auxiliary, output), want.masks, strict=True):
        torch.testing.assert_close(ours.mask_logits[0], theirs, **tolerance)
    for ours, theirs in zip((*output.auxiliary, output), want.classes, strict=True):
        if theirs is not None:
            torch.testing.assert_close(ours.class_logits[0].roll(1, -1), theirs, **tolerance)


def class_queries(official: OfficialTarViS, rows: slice) -> list[tuple[str, Tensor]]:
    table = {
        name: official.p[f"embedding_container._{name}_queries"][1:]
        for name in ("instance", "background", "semantic")
    }
    return [*list(table.items())[:2], ("semantic", table["semantic"][rows])]


def test_classes_of_a_padded_clip() -> None:
    output, maps = run(VIS("ovis"), frames())
    _, official = networks()
    assert_same(output, official.decode(maps, class_queries(official, slice(19, 44))))


def test_masks_on_two_reference_frames() -> None:
    ids = [1, 2, 3]
    output, maps = run(VOS({0: THREE, 2: LATER}, ids={0: ids, 2: ids}), frames())
    masks = [torch.stack((padded(a), padded(b))) for a, b in zip(THREE, LATER, strict=True)]
    _, official = networks()
    background, objects = official.encode(maps, [0, 2], masks)
    assert_same(output, official.decode(maps, [("background_vos", background), ("vos", objects)]))


def test_points_on_several_frames() -> None:
    output, maps = run(PET({0: [(10, 20), (99, 59)], 2: [(63, 0)]}), frames())
    _, official = networks()
    points = [(0, 10, 20), (0, 99, 59), (2, 63, 0)]
    background, objects = official.encode(maps, [0, 2], [], points)
    assert_same(output, official.decode(maps, [("background_vos", background), ("vos", objects)]))


def test_all_kinds_of_queries_in_one_pass() -> None:
    tasks = [VIS("ovis", classes=["Fish"]), VOS({1: THREE[:1]}), PET({0: [(10, 20)]})]
    output, maps = run(tasks, frames())
    model, official = networks()
    row = model.queries.semantic_rows(tasks[0].resolve())[0]
    mask = torch.stack((torch.zeros(PADDED, dtype=torch.bool), padded(THREE[0])))
    background, objects = official.encode(maps, [0, 1], [mask], [(0, 10, 20)])
    hinted = [("background_vos", background), ("vos", objects)]
    parts = [*class_queries(official, slice(row, row + 1)), *hinted]
    assert_same(output, official.decode(maps, parts))


@pytest.mark.parametrize("official_compat", [False, True])
def test_a_second_clip_starts_from_what_the_first_one_found(official_compat: bool) -> None:
    model, official = networks()
    video = frames(count=4)
    task = VOS(THREE[:2], ids=[9, 4])
    policy = model.video_policy(task, clip_length=3, overlap=2, official_compat=official_compat)
    state = policy.start((HEIGHT, WIDTH), (HEIGHT, WIDTH))
    with torch.no_grad():
        first = model(video[:, :3], policy.hints(state), state=state)
        list(policy.merge(first, state))
        hints = policy.hints(state)
        second = model(video[:, 1:], hints, state=state)
    assert second.frame_indices == (1, 2, 3)
    found = torch.stack([first.select_mask_logits(part)[0].amax(0) for part in first.object_slices])
    enlarged = F.interpolate(found[:, 1:].float(), scale_factor=4, mode="bilinear") > 0
    assert enlarged[..., WIDTH:].any()  # predicted masks reach into the padding
    maps = run(VIS("ovis"), video[:, 1:])[1]
    background, objects = official.encode(maps, [0, 1], list(enlarged))
    want = official.decode(maps, [("background_vos", background), ("vos", objects)])
    assert_same(second, want)
