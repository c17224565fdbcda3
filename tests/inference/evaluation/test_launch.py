"""What launchers tell their processes."""

from __future__ import annotations

import pytest

from segblocks.inference.evaluation.launch import Launch, find_launch


def test_a_process_alone() -> None:
    for environment in ({}, {"RANK": "1"}, {"WORLD_SIZE": "2"}, {"LOCAL_RANK": "1"}):
        launch = find_launch(environment)
        assert launch == Launch(0, 1, 0)
        assert launch.is_first
        assert not launch.is_shared
        with launch.connect():
            launch.wait()


def test_one_of_several() -> None:
    launch = find_launch({"RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1"})
    assert launch == Launch(5, 8, 1)
    assert launch.is_shared
    assert not launch.is_first
    assert find_launch({"RANK": "1", "WORLD_SIZE": "2"}).local_rank == 1


@pytest.mark.parametrize(
    ("rank", "size", "message"),
    [("2", "2", "RANK must be below its WORLD_SIZE"), ("one", "2", "RANK=one"), ("-1", "2", "-1")],
)
def test_nonsense_is_named(rank: str, size: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find_launch({"RANK": rank, "WORLD_SIZE": size})
