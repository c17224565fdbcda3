"""Ref-YouTube-VOS and Ref-DAVIS17 are read as they are written, sentences and all."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from segblocks.data.referring import ReferringDataset, write_referring
from segblocks.data.registry import open_dataset
from segblocks.data.sample import Expression
from tests.data.made import assert_same_video, made_video

SENTENCES = (
    Expression("0", "the cat on the left", (1,)),
    Expression("1", 'a dog, "sitting"', (2,)),
    Expression("2", "both animals", (1, 2)),
)
MADE = made_video("goat", (1, 2), late={2: 2}, hints=False, expressions=SENTENCES)
META = "meta_expressions/valid/meta_expressions.json"
Record = dict[str, Any]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_referring([MADE, made_video("pig", (1,), hints=False)], tmp_path, suffix=".png")
    return tmp_path


def edit(root: Path, change: Callable[[Record], Any]) -> None:
    content = json.loads((root / META).read_text())
    change(content["videos"]["goat"])
    (root / META).write_text(json.dumps(content))


@pytest.mark.parametrize("name", ["ref_youtube_vos", "ref_davis17"])
def test_round_trip(root: Path, name: str) -> None:
    dataset = pickle.loads(pickle.dumps(open_dataset(name, root)))
    assert (dataset.name, dataset.task, dataset.names) == (name, "refvos", ("goat", "pig"))
    sample = pickle.loads(pickle.dumps(dataset[0]))
    assert_same_video(sample, MADE, labels=False)
    assert [info.attributes for info in sample.objects] == [
        {"category": "cat"},
        {"category": "dog"},
    ]
    assert dataset[1].expressions == ()


def test_without_meta_file(root: Path) -> None:
    (root / "valid/meta.json").unlink()
    assert [info.id for info in ReferringDataset(root)[0].objects] == [1, 2]


def test_sentences_without_their_objects(root: Path) -> None:
    edit(root, lambda v: [e.pop("obj_id") for e in v["expressions"].values()])
    (root / "valid/meta.json").unlink()
    shutil.rmtree(root / "valid/Annotations")
    sample = ReferringDataset(root)[0]
    assert [e.object_ids for e in sample.expressions] == [(), (), ()]
    assert (sample.annotated, sample.objects) == ((), ())


def test_a_list_of_some_frames(root: Path) -> None:
    edit(root, lambda v: v.update(frames=["00015", "00005"]))
    sample = ReferringDataset(root)[0]
    assert sample.frame_names == ("00005", "00015")
    assert sample.read_truth(1).ids == MADE.read_truth(3).ids
    assert sample.annotated == (0, 1)


def test_the_test_set_is_not_of_the_validation_set(root: Path) -> None:
    path = root / "meta_expressions/test/meta_expressions.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"videos": {"pig": {"expressions": {}, "frames": ["00000"]}}}))
    assert ReferringDataset(root).names == ("goat",)
    test = ReferringDataset(root, split="test")
    assert test.names == ("pig",)
    assert test[0].num_frames == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v.pop("frames"), "the field 'frames' is missing"),
        (lambda v: v.update(frames=[]), "must name at least one frame"),
        (lambda v: v.pop("expressions"), "the field 'expressions' is missing"),
        (lambda v: v["expressions"]["1"].pop("exp"), "expression '1': the field 'exp' is missing"),
        (
            lambda v: v["expressions"]["1"].update(obj_id="8"),
            r"expression '1': is about the objects \[8\], which meta\.json does not list",
        ),
        (
            lambda v: v["expressions"]["1"].update(obj_id="x"),
            "expression '1': obj_id: expected a whole number, got 'x'",
        ),
    ],
)
def test_broken_files(root: Path, change: Callable[[Record], Any], message: str) -> None:
    edit(root, change)
    with pytest.raises(ValueError, match=rf"{META}: video 'goat': .*{message}|{message}") as error:
        ReferringDataset(root)[0]
    assert META in str(error.value)


def test_missing_files(root: Path) -> None:
    edit(root, lambda v: v["frames"].append("00099"))
    with pytest.raises(FileNotFoundError, match=r"the frames \['00099'\] are missing in .*goat"):
        ReferringDataset(root)[0]
    with pytest.raises(FileNotFoundError, match="found none of meta_expressions/train/"):
        ReferringDataset(root, split="train")


def test_an_object_that_the_meta_file_lacks(root: Path) -> None:
    path = root / "valid/meta.json"
    content = json.loads(path.read_text())
    content["videos"]["pig"]["objects"] = {"4": {}}
    path.write_text(json.dumps(content))
    sample = ReferringDataset(root)[1]
    with pytest.raises(ValueError, match=r"pig/00000\.png: holds the object ids \[1\], which"):
        sample.read_truth(0)
