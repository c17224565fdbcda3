"""The TMT-VIS model: vocabularies, selection, its baseline, files; a slim one."""

from __future__ import annotations

import copy
import dataclasses
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from segblocks.inference import segment
from segblocks.tasks import VIS, VOS
from segblocks.text import HashEncoder, TextEmbeddings, Vocabulary, embed_names, get_vocabulary
from segblocks.zoo import create_model, from_pretrained
from segblocks.zoo.mask2former_vis import Mask2FormerVIS, Mask2FormerVISConfig
from segblocks.zoo.mask2former_vis import start_from as start_mask2former_from
from segblocks.zoo.tmt_vis import TMTVIS, TMTVISConfig, start_from

ANIMALS = ("animals", ("dog", "cat", "Giant_panda", "bird"))
STREET = ("street", ("car", "person", "Dog", "motorbike"))
SIZES: dict[str, Any] = {
    "num_queries": 7,
    "embed_dim": 32,
    "num_heads": 4,
    "neck_layers": 1,
    "neck_hidden_dim": 32,
    "decoder_layers": 3,
    "decoder_hidden_dim": 32,
}
SLIM = TMTVISConfig(
    vocabularies=(ANIMALS, STREET),
    text_encoder="hash/16",
    text_dim=16,
    bottleneck_dim=8,
    num_selected=3,
    short_side=32,
    **SIZES,
)
A, S = Vocabulary(*ANIMALS), Vocabulary(*STREET)


@functools.cache
def slim(**overrides: Any) -> TMTVIS:
    torch.manual_seed(0)
    return TMTVIS(dataclasses.replace(SLIM, **overrides)).eval()


def frames(batch: int = 1, count: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (batch, count, 3, 40, 60), dtype=torch.uint8, generator=generator)


@torch.no_grad()
def test_the_output_is_of_the_vocabulary_that_was_asked_for() -> None:
    model = slim()
    assert model.vocabulary.classes == (
        "dog", "cat", "giant panda", "bird", "car", "person", "motorcycle"
    )  # fmt: skip
    video = frames()
    street, union = model(video, VIS(S)), model(video, VIS("union"))
    assert street.class_logits.shape == (1, 7, 5)
    assert union.class_logits.shape == (1, 7, 8)
    assert street.mask_logits.shape == (1, 7, 2, 16, 16)
    assert [p.name for p in street.predictions] == [
        "prediction", *["taxonomy", "prediction"] * 3
    ]  # fmt: skip
    assert street.taxonomy.indices.shape == (1, 3)
    assert set(street.taxonomy.indices.flatten().tolist()) <= set(range(4))
    # before any injection the logits are those of the joined classifier
    columns = [4, 5, 0, 6, 7]
    first = union.predictions[0].class_logits
    assert torch.equal(street.predictions[0].class_logits, first[..., columns])


@torch.no_grad()
def test_stuff_is_not_looked_for() -> None:
    model, video = slim(), frames()
    mixed = Vocabulary("mixed", ("dog", "car", "cat", "person", "bird"), things={0, 2, 4})
    output = model(video, VIS(mixed))
    assert sorted(output.taxonomy.indices[0].tolist()) == [0, 2, 4]
    assert output.taxonomy.logits[0].isinf().tolist() == [False, True, False, True, False]
    (clip,) = model.forward_clips(video, [VIS(mixed)])
    assert torch.equal(clip.taxonomy.indices, output.taxonomy.indices)
    assert torch.equal(clip.mask_logits, output.mask_logits)
    animals = model(video, VIS(["dog", "cat", "bird"]))
    torch.testing.assert_close(animals.mask_logits, output.mask_logits, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_class_of_the_same_meaning_is_the_same_class() -> None:
    model, video = slim(), frames()
    mine = model(video, VIS(["motorcycle", "PERSON"]))
    theirs = model(video, VIS(S, classes=["motorbike", "person"]))
    assert torch.equal(mine.class_logits, theirs.class_logits)
    with pytest.raises(ValueError, match="several classes mean the same, motorcycle"):
        model(video, VIS(["motorcycle", "motorbike"]))


@torch.no_grad()
def test_classes_that_are_not_asked_for_change_nothing() -> None:
    model, video = copy.deepcopy(slim()), frames()
    want = model(video, VIS(A))
    table = model.class_vectors.table
    vectors = table.vectors.clone()
    for name in ("car", "person", "motorcycle"):
        vectors[table.names.index(name)] = torch.randn(16)
    model.use_text(dataclasses.replace(table, vectors=vectors))
    head = model.decoder.steps[0].class_head.linear
    head.weight[4:7] += 1
    got = model(video, VIS(A))
    assert torch.equal(got.class_logits, want.class_logits)
    assert torch.equal(got.mask_logits, want.mask_logits)


@torch.no_grad()
def test_the_clips_of_a_mixed_batch_come_out_as_alone() -> None:
    model, video = slim(), frames(batch=3)
    tasks = [VIS(A), VIS(S), VIS(["cat", "car"])]
    together = model.forward_clips(video, tasks)
    for b, task in enumerate(tasks):
        alone = model(video[b : b + 1], task)
        got = together[b]
        close = functools.partial(torch.testing.assert_close, atol=2e-5, rtol=1e-4)
        close(got.class_logits, alone.class_logits)
        close(got.mask_logits, alone.mask_logits)
        close(got.taxonomy.logits, alone.taxonomy.logits)
        count = alone.taxonomy.indices.shape[1]
        assert torch.equal(got.taxonomy.indices[:, :count], alone.taxonomy.indices)
        assert (got.taxonomy.indices[:, count:] == -1).all()
        assert got.state is None


@torch.no_grad()
def test_training_and_evaluation_run_the_same_path() -> None:
    model, video = copy.deepcopy(slim()), frames()
    want = model(video, VIS(A))
    assert torch.equal(model.train()(video, VIS(A)).mask_logits, want.mask_logits)
    (clip,) = model.forward_clips(video, [VIS(A)])
    assert torch.equal(clip.class_logits, want.class_logits)


@torch.no_grad()
def test_one_frame_is_a_video() -> None:
    output = slim()(frames(count=1), VIS(A))
    assert output.mask_logits.shape[2] == 1
    result = segment(slim(), frames(count=1)[0].permute(0, 2, 3, 1).numpy(), VIS("union"))
    assert result.vocabulary is slim().vocabulary


def baseline() -> Mask2FormerVIS:
    torch.manual_seed(1)
    classes = ("cat", "bird", "car", "person", "motorbike", "dog", "panda")
    return Mask2FormerVIS(Mask2FormerVISConfig(vocabulary=classes, **SIZES)).eval()


@torch.no_grad()
@pytest.mark.parametrize("overrides", [{"injection": "never"}, {"injection_norm": "pre"}])
def test_started_from_mask2former_it_is_mask2former(overrides: dict[str, Any]) -> None:
    model, base = copy.deepcopy(slim(**overrides)), baseline()
    taken = start_from(model, base.state_dict(), base.vocabulary)
    assert taken == ("dog", "cat", "bird", "car", "person", "motorcycle")
    video = frames()
    asked = ["cat", "person", "motorbike"]
    got, want = model(video, VIS(asked)), base(video, VIS(base.vocabulary))
    columns = [base.vocabulary.index(name) for name in asked] + [-1]
    plain = [p for p in got.predictions if p.name == "prediction"]
    for a, b in zip(plain, want.predictions, strict=True):
        assert torch.equal(a.queries, b.queries)
        assert torch.equal(a.mask_embeddings, b.mask_embeddings)
        torch.testing.assert_close(
            a.class_logits, b.class_logits[..., columns], atol=1e-6, rtol=1e-6
        )
    assert torch.equal(got.mask_features, want.mask_features)


def test_starting_takes_everything_or_says_why() -> None:
    model, base = copy.deepcopy(slim()), baseline()
    assert start_from(model, base.state_dict()) == ()
    state = model.state_dict()
    assert torch.equal(state["query_content"], base.state_dict()["query_content"])
    last = "decoder.blocks.15.block.norm.weight"
    assert last in state
    with pytest.raises(ValueError, match="classes must be the 7 of the classifier, got 2"):
        start_from(model, base.state_dict(), ["cat", "dog"])
    for start, target in ((start_from, model), (start_mask2former_from, base)):
        with pytest.raises(ValueError, match=r"distinct, got \['cat'\]"):
            start(target, base.state_dict(), ["cat"] * 7)
    with pytest.raises(ValueError, match="neck"):
        start_from(
            model, {k: v for k, v in base.state_dict().items() if "neck.level" not in k}, None
        )


@torch.no_grad()
@pytest.mark.parametrize("aggregation", ["add", "concatenate"])
def test_other_ways_to_take_in_the_taxonomy(aggregation: str) -> None:
    model = slim(aggregation=aggregation)
    output = model(frames(), VIS(A))
    extra = 3 if aggregation == "concatenate" else 0
    assert output.class_logits.shape == (1, 7, 5)
    assert output.mask_logits.shape[1] == 7 + extra
    assert output.groups["instance"] == slice(0, 7)
    result = segment(model, frames()[0].permute(0, 2, 3, 1).numpy(), VIS(A))
    assert result.num_frames == 2


def test_one_injection_or_several() -> None:
    names = [p.name for p in slim(injection="once")(frames(), VIS(A)).predictions]
    assert names == ["prediction", "taxonomy", *["prediction"] * 3]
    assert slim(injection="never").compiler is None
    assert slim(injection="never")(frames(), VIS(A)).taxonomy is None


@torch.no_grad()
def test_a_vocabulary_that_was_never_trained() -> None:
    model, video = slim(), frames()
    asked = ["wombat", "cat", "tram"]
    output = model(video, VIS(asked))
    assert output.class_logits.shape == (1, 7, 4)
    union = [p.class_logits for p in model(video, VIS("union")).predictions]
    names = embed_names(["wombat", "tram"], HashEncoder(16)).vectors.double()
    known = embed_names(model.vocabulary.classes, HashEncoder(16)).vectors.double()
    first = union[0].double()
    for place, name in ((0, names[0]), (2, names[1])):
        weights = torch.stack([(name @ row / 0.05).exp() for row in known])
        expected = sum(first[..., k] * weights[k] / weights.sum() for k in range(len(known)))
        got = output.predictions[0].class_logits[..., place]
        torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-4)
    assert torch.equal(output.predictions[0].class_logits[..., [1, 3]], union[0][..., [1, 7]])
    assert set(output.taxonomy.indices.flatten().tolist()) == {0, 1, 2}
    result = segment(model, video[0].permute(0, 2, 3, 1).numpy(), VIS("ovis"))
    assert result.vocabulary.classes == get_vocabulary("ovis").classes


@torch.no_grad()
def test_vocabularies_of_ones_own_may_have_stuff() -> None:
    model = slim(vocabularies=(("street", ("road", "car", "person"), (1, 2)), ANIMALS))
    assert [model.vocabulary.classes[i] for i in model.vocabulary.stuff_ids] == ["road"]
    output = model(frames(), VIS("union"))
    assert output.class_logits.shape == (1, 7, 8)
    assert output.taxonomy.logits[0].isinf().tolist() == [True] + [False] * 6


def test_training_on_unknown_classes_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"tasks must ask for classes .* got \['wombat'\]"):
        slim().forward_clips(frames(), [VIS(["wombat", "cat"])])
    with pytest.raises(ValueError, match="tasks must be 1, one a clip, got 2"):
        slim().forward_clips(frames(), [VIS(A), VIS(S)])


def test_gradients_reach_what_the_docs_say() -> None:
    model = copy.deepcopy(slim()).train()
    (output,) = model.forward_clips(frames(), [VIS(A)])
    (output.class_logits.square().sum() + output.mask_logits.square().mean()).backward()
    without = {name for name, p in model.named_parameters() if p.grad is None}
    assert without == {"compiler.score.weight", "compiler.score.bias"}
    head = model.decoder.steps[0].class_head.linear
    assert head.weight.grad[[0, 1, 2, 3, 7]].abs().amax(-1).min() > 0
    assert not head.weight.grad[4:7].any()  # classes of the other dataset


def test_a_folder_holds_the_vectors_of_names(tmp_path: Path, monkeypatch: Any) -> None:
    model = copy.deepcopy(slim())
    model.embed_classes()
    model.save_pretrained(tmp_path / "model")
    table = TextEmbeddings.load(tmp_path / "model" / "text.safetensors")
    assert set(table.names) >= set(model.vocabulary.classes)
    assert (table.encoder, table.templates) == ("hash/16", ("a photo of a {}.",))
    back = from_pretrained(tmp_path / "model")
    assert back.config == model.config

    def refuse(name: str) -> None:
        raise AssertionError(f"asked for the text encoder {name}")

    monkeypatch.setattr("segblocks.zoo.tmt_vis.class_vectors.get_text_encoder", refuse)
    with torch.no_grad():
        got, want = back(frames(), VIS(A)), slim()(frames(), VIS(A))
        assert torch.equal(got.class_logits, want.class_logits)
        with pytest.raises(AssertionError, match="asked for the text encoder hash/16"):
            back(frames(), VIS(["unicorn"]))
    assert not any("text" in name for name in model.state_dict())


def test_a_folder_without_vectors_or_with_others(tmp_path: Path) -> None:
    slim().save_pretrained(tmp_path)
    path = tmp_path / "text.safetensors"
    path.unlink(missing_ok=True)
    with torch.no_grad():
        got, want = from_pretrained(tmp_path)(frames(), VIS(A)), slim()(frames(), VIS(A))
    assert torch.equal(got.class_logits, want.class_logits), "its encoder makes them anew"
    embed_names(["dog"], HashEncoder(8)).save(path)
    with pytest.raises(ValueError, match=r"text\.safetensors: .* text encoder, length .*'hash/8'"):
        from_pretrained(tmp_path)
    path.write_bytes(b"half a file")
    with pytest.raises(ValueError, match=r"text\.safetensors: damaged"):
        from_pretrained(tmp_path)


def test_vectors_of_another_encoder_are_refused() -> None:
    with pytest.raises(ValueError, match=r"text encoder, length and templates, \('hash/16'"):
        copy.deepcopy(slim()).use_text(embed_names(["dog"], HashEncoder(8)))
    with pytest.raises(ValueError, match="makes vectors of 24 numbers, and the model's text_dim"):
        slim(text_encoder="hash/24")(frames(), VIS(A))


def test_inference_first_and_training_later() -> None:
    model = copy.deepcopy(slim())
    segment(model, frames()[0].permute(0, 2, 3, 1).numpy(), VIS(A))
    model.forward_clips(frames(), [VIS(A)])[0].class_logits.sum().backward()


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="task must be one of vis, got vos"):
        slim()(frames(), VOS(torch.ones(1, 40, 60, dtype=torch.bool)))
    with pytest.raises(ValueError, match="injection must be one of"):
        TMTVISConfig(injection="twice")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="there is no vocabulary 'ovas'; did you mean 'ovis'"):
        TMTVISConfig(vocabularies=("ovas",))
    with pytest.raises(ValueError, match="num_selected must be a whole number from 1, got 0"):
        TMTVISConfig(num_selected=0)
    with pytest.raises(ValueError, match="no templates 'pictures'"):
        TMTVISConfig(templates="pictures")


@pytest.mark.parametrize("backbone", ["resnet50", "swin_large"])
def test_the_published_sizes(backbone: str) -> None:
    with torch.device("meta"):
        model = create_model(f"tmt_vis_{backbone}")
        base = create_model(f"mask2former_vis_{backbone}")
    assert len(model.vocabulary) == 105
    count = {
        name: sum(p.numel() for p in module.parameters())
        for name, module in {"all": model, "base": base, "compiler": model.compiler}.items()
    }
    # adapter 0.33 M, two layers 2.63 M, score 0.07 M; an injection 1.32 M
    assert count["compiler"] == 328_192 + 2 * 1_315_072 + 65_792
    assert count["all"] - count["compiler"] == count["base"] + 9 * 1_315_072 + 65 * 257
