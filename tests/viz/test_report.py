"""The page of a result: what it holds, and that its script reads it right."""

from __future__ import annotations

import base64
import html.parser
import io
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from segblocks.ops.rle import decode, from_coco
from segblocks.results import FrameResult, VideoSegmentation, VideoSegmentationBuilder
from segblocks.tasks import VOS, RefVOS
from segblocks.viz import id_color, overlay, track_label_map, write_report
from tests.disk import full_disk
from tests.inference.results_by_hand import (
    FRAMES,
    MASKS,
    SIZE,
    build,
    vis_result,
    vos_result,
    vps_result,
)


class Elements(html.parser.HTMLParser):
    """Scripts of a page by id, all addresses, and whether every element was closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts: dict[str, str] = {}
        self.addresses: list[str] = []
        self.titles = 0
        self._script: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.addresses += [value for name in ("src", "href") if (value := found.get(name))]
        self.titles += tag == "title"
        if tag == "script":
            self._script = found.get("id") or "page"
            self.scripts[self._script] = ""

    def handle_data(self, data: str) -> None:
        if self._script is not None:
            self.scripts[self._script] += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script":
            self._script = None


def write(folder: Path, result: VideoSegmentation, frames: Any = FRAMES, **limits: Any) -> str:
    return write_report(folder / "report.html", result, frames, **limits).read_text("utf-8")


def content(page: str) -> dict[str, Any]:
    return json.loads(Elements(page).scripts["report"])


def long_video(num_frames: int, size: tuple[int, int]) -> tuple[VideoSegmentation, np.ndarray]:
    """One square that moves to the right; noise, which JPEG cannot make small."""
    masks = np.zeros((num_frames, *size), bool)
    for t, mask in enumerate(masks):
        mask[4:20, 4 + t : 20 + t] = True
    builder = VideoSegmentationBuilder(size, VOS(masks[:1]))
    for t, mask in enumerate(masks):
        builder.add(FrameResult(t, (1,), mask[None], (None,), (None,)))
    frames = np.random.default_rng(0).integers(0, 256, (num_frames, *size, 3), dtype=np.uint8)
    return builder.finish(num_frames), frames


def test_tracks_with_their_masks_scores_and_colours(tmp_path: Path) -> None:
    report = content(write(tmp_path, vis_result(), title="street", fps=20))
    assert (report["title"], report["facts"]) == ("street", "vis, 3 frames, 16x12, 2 tracks")
    assert report["interval"] == 50
    assert [row["name"] for row in report["rows"]] == ["car 1", "car 2"]
    assert [row["score"] for row in report["rows"]] == ["0.90", "0.60"]
    assert [tuple(row["color"]) for row in report["rows"]] == [id_color(1), id_color(2)]
    assert report["order"] == [1, 0]
    for row, number in zip(report["rows"], (1, 2), strict=True):
        for text, mask in zip(row["masks"], MASKS[number], strict=True):
            assert (text is None) == (not mask.any())
            if text is not None:
                found = decode(from_coco({"size": SIZE, "counts": text}))
                np.testing.assert_array_equal(found, mask)


def test_pictures_are_the_frames(tmp_path: Path) -> None:
    frames = np.broadcast_to(np.array([30, 120, 200], np.uint8), (3, *SIZE, 3))
    report = content(write(tmp_path, vos_result(), frames))
    assert [frame["index"] for frame in report["frames"]] == [0, 1, 2]
    for frame in report["frames"]:
        kind, _, data = frame["image"].partition(",")
        assert kind == "data:image/jpeg;base64"
        picture = np.array(Image.open(io.BytesIO(base64.b64decode(data))))
        np.testing.assert_allclose(picture, frames[0], atol=4)


def test_panoptic_results_list_tracks_and_then_classes(tmp_path: Path) -> None:
    result = vps_result()
    report = content(write(tmp_path, result))
    assert [row["name"] for row in report["rows"]] == ["car 1", "person 2", "road"]
    colors = [tuple(row["color"]) for row in report["rows"]]
    assert colors == [id_color(4), id_color(5), id_color(1)]
    for row, number in zip(report["rows"], (4, 5, 1), strict=True):
        for t, text in enumerate(row["masks"]):
            expected = result.panoptic(t).ids == number
            assert (text is None) == (not expected.any())
            if text is not None:
                found = decode(from_coco({"size": SIZE, "counts": text}))
                np.testing.assert_array_equal(found, expected)


def test_the_page_needs_no_network_and_no_other_file(tmp_path: Path) -> None:
    page = write(tmp_path, vis_result())
    assert not Elements(page).addresses
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|@import|url\(|fetch|XMLHttp", page)
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_names_cannot_leave_the_script(tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script><title>"
    result = build(RefVOS([evil, "the 'right' \"dog\" 🐕 &amp;"]))
    page = write(tmp_path, result, title=evil)
    elements = Elements(page)
    assert list(elements.scripts) == ["report", "pixels", "page"]
    assert elements.titles == 1
    report = content(page)
    assert report["title"] == evil
    assert [row["name"] for row in report["rows"]] == [
        f"{evil} 1",
        "the 'right' \"dog\" 🐕 &amp; 2",
    ]


def test_the_size_stays_within_the_limits(tmp_path: Path) -> None:
    result, frames = long_video(40, (96, 160))
    report = content(write(tmp_path, result, iter(frames), max_frames=5, max_side=80, fps=20))
    assert [frame["index"] for frame in report["frames"]] == [0, 10, 20, 29, 39]
    assert report["facts"] == "vos, 5 of 40 frames, 160x96, 1 tracks"
    assert report["interval"] == 400
    assert report["shown"] == [48, 80]
    for frame, text in zip(report["frames"], report["rows"][0]["masks"], strict=True):
        picture = Image.open(io.BytesIO(base64.b64decode(frame["image"].partition(",")[2])))
        assert picture.size == (80, 48)
        mask = decode(from_coco({"size": report["shown"], "counts": text}))
        np.testing.assert_array_equal(mask, result.tracks[0].mask(frame["index"])[1::2, 1::2])


def test_a_page_does_not_grow_with_the_video(tmp_path: Path) -> None:
    sizes = []
    for num_frames in (10, 60):
        result, frames = long_video(num_frames, (96, 160))
        sizes.append(len(write(tmp_path, result, frames, max_frames=10)))
    assert abs(sizes[1] - sizes[0]) < 0.02 * sizes[0]


@pytest.mark.parametrize(
    ("frames", "limits", "message"),
    [
        (FRAMES[:2], {}, "the 3 of the result, got 2"),
        (FRAMES[:, :, :8], {}, r"\(12, 16\) like the result, got \(12, 8\)"),
        (FRAMES, {"max_frames": 0}, "at least 1, got 0 and 640"),
        (FRAMES, {"max_side": 0}, "at least 1, got 150 and 0"),
    ],
)
def test_wrong_inputs_raise_and_leave_nothing(tmp_path: Path, frames, limits, message) -> None:
    with pytest.raises(ValueError, match=message):
        write(tmp_path, vis_result(), frames, **limits)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_earlier_page(tmp_path: Path) -> None:
    earlier = write(tmp_path, vis_result())
    with full_disk(), pytest.raises(OSError, match=r"report\.html"):
        write(tmp_path, vos_result())
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert (tmp_path / "report.html").read_text("utf-8") == earlier


def run_script(page: str, call: str) -> Any:
    """Evaluate JavaScript with the functions of the page."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs node, to run the script of the page")
    elements = Elements(page)
    script = f"const report = {elements.scripts['report']};\n{elements.scripts['pixels']}\n"
    script += f"console.log(JSON.stringify({call}))"
    found = subprocess.run([node, "-"], input=script, capture_output=True, text=True, check=True)
    return json.loads(found.stdout)


MASKS_OF_A_FRAME = (
    "report.order.filter((i) => report.rows[i].masks[t] !== null)"
    ".map((i) => [i + 1, report.rows[i].masks[t]])"
)


@pytest.mark.parametrize("make", [vis_result, vos_result])
def test_the_script_paints_what_python_paints(tmp_path: Path, make) -> None:
    result = make()
    call = f"[0, 1, 2].map((t) => Array.from(paintOwners(...report.shown, {MASKS_OF_A_FRAME})))"
    for t, owners in enumerate(run_script(write(tmp_path, result), call)):
        # Rows stand in the order of the ids here.
        np.testing.assert_array_equal(np.reshape(owners, SIZE), track_label_map(result, t))


def test_the_script_colours_as_the_overlay_does(tmp_path: Path) -> None:
    result = vos_result()
    call = (
        f"[0, 1, 2].map((t) => Array.from(colorPixels(paintOwners(...report.shown, "
        f"{MASKS_OF_A_FRAME}), ...report.shown, report.rows.map((row) => row.color), 0.5, true)))"
    )
    black = np.zeros((*SIZE, 3), np.uint8)
    for t, pixels in enumerate(run_script(write(tmp_path, result), call)):
        pixels = np.reshape(pixels, (*SIZE, 4)).astype(float)
        blended = pixels[..., :3] * pixels[..., 3:] / 255
        drawn = overlay(black, track_label_map(result, t))
        # The browser keeps the share of the colour as a whole number.
        np.testing.assert_allclose(blended, drawn, atol=1)
        np.testing.assert_array_equal(pixels[..., 3] > 0, track_label_map(result, t) > 0)


def test_the_script_reads_any_run_lengths(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    size = (37, 53)
    noise = rng.random((3, *size)) < np.array([0.02, 0.5, 0.98])[:, None, None]
    builder = VideoSegmentationBuilder(size, VOS(noise[:1]))
    for t, mask in enumerate(noise):
        builder.add(FrameResult(t, (1,), mask[None], (None,), (None,)))
    page = write(tmp_path, builder.finish(3), np.zeros((3, *size, 3), np.uint8))
    painted = "paintOwners(...report.shown, [[1, report.rows[0].masks[t]]])"
    call = f"[0, 1, 2].map((t) => Array.from({painted}))"
    np.testing.assert_array_equal(np.reshape(run_script(page, call), noise.shape), noise)
