"""Tables of class embeddings: what is in them, and that files give back exactly that."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from segblocks.text import HashEncoder, TextEmbeddings, embed_names

NAMES = ["dog", "Giant_panda", "car"]


def table() -> TextEmbeddings:
    return embed_names(NAMES, HashEncoder(16), ["a {}.", "the {}."])


def test_a_name_is_the_mean_of_its_sentences() -> None:
    encoder = HashEncoder(16)
    mean = (encoder(["a giant panda."]) + encoder(["the giant panda."])) / 2
    torch.testing.assert_close(table().rows(["Giant_panda"]), mean / mean.norm())
    assert table().rows(["car", "dog"]).shape == (2, 16)
    assert torch.equal(table().rows(["car", "dog"]), table().vectors[[2, 0]])


def test_a_file_gives_back_the_table(tmp_path: Path) -> None:
    path = tmp_path / "text.safetensors"
    table().save(path)
    back = TextEmbeddings.load(path)
    assert torch.equal(back.vectors, table().vectors)
    assert (back.names, back.encoder, back.templates, back.hash) == (
        tuple(NAMES), "hash/16", ("a {}.", "the {}."), table().hash
    )  # fmt: skip


def test_the_hash_covers_everything() -> None:
    first = table()
    others = [
        TextEmbeddings(("dog", "giant panda", "car"), first.vectors, "hash/16", first.templates),
        TextEmbeddings(first.names, first.vectors + 1e-6, "hash/16", first.templates),
        TextEmbeddings(first.names, first.vectors, "minilm", first.templates),
        TextEmbeddings(first.names, first.vectors, "hash/16", ("{}",)),
    ]
    assert len({t.hash for t in [first, *others]}) == 5


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.safetensors"
    table().save(path)
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="not what its hash says"):
        TextEmbeddings.load(path)
    path.write_bytes(raw[:50])
    with pytest.raises(ValueError, match="damaged or no safetensors file"):
        TextEmbeddings.load(path)
    save_file({"vectors": table().vectors}, path)
    with pytest.raises(ValueError, match=r"not written by TextEmbeddings\.save"):
        TextEmbeddings.load(path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        TextEmbeddings.load(tmp_path / "none.safetensors")


def test_more_names_come_from_the_same_encoder() -> None:
    more = table().extended(["cat", "dog", "cat"], HashEncoder(16))
    assert more.names == (*NAMES, "cat")
    assert torch.equal(more.vectors[:3], table().vectors)
    assert torch.equal(
        more.rows(["cat"]), embed_names(["cat"], HashEncoder(16), table().templates).vectors
    )
    with pytest.raises(ValueError, match=r"encoder must be 'hash/16', .* got 'hash/8'"):
        table().extended(["cat"], HashEncoder(8))


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(ValueError, match=r"no vectors for \['bird'\]; hash/16 can make them"):
        table().rows(["dog", "bird"])
    with pytest.raises(ValueError, match=r"vectors must be \(1, d\), got \(2, 4\)"):
        TextEmbeddings(("a",), torch.ones(2, 4), "hash/4", ("{}",))
    with pytest.raises(ValueError, match="names must be distinct"):
        TextEmbeddings(("a", "a"), torch.ones(2, 4), "hash/4", ("{}",))
