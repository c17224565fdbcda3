"""Ref-DAVIS17 is read from its own text files."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

from segblocks.data.davis import write_davis
from segblocks.data.ref_davis import RefDAVISDataset
from segblocks.data.referring import ReferringDataset, write_referring
from segblocks.data.registry import open_dataset
from segblocks.data.sample import Expression
from tests.data.made import assert_same_truth, made_video

MADE = made_video("dogs-scale", (1, 2), late={2: 3}, vocabulary=None)
FILES = ("annot1", "annot1_full_video", "annot2", "annot2_full_video")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_davis([MADE], tmp_path / "DAVIS", suffix=".png")
    (tmp_path / "DAVIS/Annotations").rename(tmp_path / "DAVIS/Annotations_unsupervised")
    texts = tmp_path / "davis_text_annotations"
    texts.mkdir()
    for k, file in enumerate(FILES):
        first, second = f'sentence {k} of "2"', f"caf\u00e9 {k}"
        lines = [f'dog-scale 2 "{first}"', f'dogs-scale 1 "{second}"', 'x 1 "y"', ""]
        encoding = "utf-8" if k < 2 else "latin-1"
        (texts / f"Davis17_{file}.txt").write_text("\n".join(lines), encoding=encoding)
    return tmp_path


def test_sentences_in_turn(root: Path) -> None:
    dataset = pickle.loads(pickle.dumps(open_dataset("ref_davis17", root)))
    assert isinstance(dataset, RefDAVISDataset)
    assert (dataset.name, dataset.task, dataset.names) == ("ref_davis17", "refvos", ("dogs-scale",))
    sample = pickle.loads(pickle.dumps(dataset[0]))
    assert sample.expressions == (
        *(Expression(str(k), f"caf\u00e9 {k}", (1,)) for k in range(4)),
        *(Expression(str(4 + k), f'sentence {k} of "2"', (2,)) for k in range(4)),
    )
    assert (sample.annotated, sample.hint_frames) == ((0, 1, 2, 3), {})
    assert [info.id for info in sample.objects] == [1, 2]
    for t in range(4):
        assert_same_truth(sample.read_truth(t), MADE.read_truth(t))


def test_a_converted_copy(tmp_path: Path) -> None:
    write_referring([MADE], tmp_path)
    assert isinstance(open_dataset("ref_davis17", tmp_path), ReferringDataset)


def test_other_masks(root: Path) -> None:
    (root / "DAVIS/Annotations_unsupervised").rename(root / "DAVIS/Annotations")
    with pytest.raises(FileNotFoundError, match="found none of Annotations_unsupervised/480p"):
        RefDAVISDataset(root)
    sample = RefDAVISDataset(root, annotations="Annotations")[0]
    assert_same_truth(sample.read_truth(3), MADE.read_truth(3))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dogs-scale one", r"annot2\.txt: line 1: expected a video, an object, \"a sentence\""),
        (
            'dogs-scale 1 "a"',
            r"the same objects of 'dogs-scale': .*annot2\.txt': \[1\]",
        ),
    ],
)
def test_broken_files(root: Path, text: str, message: str) -> None:
    path = root / "davis_text_annotations/Davis17_annot2.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        RefDAVISDataset(root)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"Davis17_annot2\.txt: no such file"):
        RefDAVISDataset(root)
