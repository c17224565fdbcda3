"""Names and sizes."""

from __future__ import annotations

import pytest

from segblocks.bench import parse_shape, shapes


def test_names() -> None:
    for named in (shapes.DEFORMABLE, shapes.SPACE_TIME, shapes.MASKED, shapes.RAGGED, shapes.CLIPS):
        for name, shape in named.items():
            assert parse_shape(name, named) == (name, shape)


def test_sizes_change_the_defaults() -> None:
    text = "frames=5,height=360,sigma=2.5"
    name, shape = parse_shape(text, shapes.DEFORMABLE)
    assert name == text
    assert shape == shapes.Deformable(frames=5, height=360, sigma=2.5)


def test_levels() -> None:
    assert shapes.DEFORMABLE["480p_T8"].levels == ((15, 27), (30, 54), (60, 108))
    assert shapes.DEFORMABLE["720p_T12_padded"].levels == ((24, 40), (48, 80), (96, 160))
    assert shapes.SPACE_TIME["480p_T8_small_cells"].cells == (1, 2, 4)
    assert shapes.Deformable(height=33, width=1).levels == ((2, 1), (3, 1), (5, 1))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("4k", "unknown shape '4k'; there are 256x448_T2, .*frames=3,height=512"),
        ("depth=3", "unknown size 'depth', expected frames, height, width, cell, heads, dim"),
        ("frames=0", "frames must be a positive whole number, got '0'"),
        ("frames=1.5", "positive whole number, got '1.5'"),
        ("frames=", "positive whole number, got ''"),
        ("frames=1,", "unknown size ''"),
        ("frames=1,frames=2", "frames is given twice"),
        ("480p_T4", "did you mean 480p_T8"),
        ("height=96", r"multiples of 64, .* got 96x896"),
    ],
)
def test_what_is_no_shape(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_shape(text, shapes.SPACE_TIME)


def test_spaces_around_sizes_do_not_matter() -> None:
    assert parse_shape("frames = 2, cell=1", shapes.SPACE_TIME)[1] == shapes.SpaceTime(2, cell=1)


def test_rows_with_more_points_than_keys() -> None:
    with pytest.raises(ValueError, match=r"keys must be at least .* got 100 keys and 16384 points"):
        parse_shape("keys=100", shapes.RAGGED)


@pytest.mark.parametrize("sigma", ["inf", "nan", "-1", "wide"])
def test_what_is_no_number(sigma: str) -> None:
    with pytest.raises(ValueError, match=f"sigma must be a positive number, got '{sigma}'"):
        parse_shape(f"sigma={sigma}", shapes.DEFORMABLE)
