"""A recipe that trains in seconds, and data in the layouts that recipes ask for."""

from __future__ import annotations

import json
from pathlib import Path

from segblocks.data.coco import write_coco
from segblocks.data.synthetic import SyntheticWorld, world_config
from segblocks.training.recipe import Recipe
from segblocks.training.recipes import get_recipe

SMALL_MODEL = (
    "model.embed_dim=32",
    "model.num_heads=2",
    "model.neck_layers=1",
    "model.neck_hidden_dim=32",
    "model.decoder_layers=3",
    "model.decoder_hidden_dim=32",
    "model.encoder_layers=1",
    "model.encoder_hidden_dim=32",
    "model.num_instance_queries=8",
)
SMALL_RUN = (
    "sources.world.videos.size=48,64",
    "criterion.num_points=64",
    "criterion.semantic_points=64",
    "loop.workers=0",
    "loop.batch_size=1",
    "loop.steps=2",
    "loop.precision=fp32",
)


def tiny_recipe(*words: str) -> Recipe:
    """The recipe of the synthetic world, two steps of a small model."""
    return get_recipe("tarvis_synthetic").override([*SMALL_MODEL, *SMALL_RUN, *words])


def stills_folder(root: Path) -> Path:
    """Four stills: two with COCO's classes and numbers, two with other classes and numbers."""
    names = {"star": "person", "ring": "dog", "sand": "wall-brick", "grass": "sky-other-merged"}
    config = world_config(
        "tiny", num_frames=1, things=("star", "ring"), stuff=("sand", "grass"), names=names
    )
    write_coco(SyntheticWorld(config, seed=2, length=4), root / "made", "train")
    write_coco(SyntheticWorld(config, seed=2, length=4), root / "made", "train", kind="instances")
    folder = root / "train"
    folder.mkdir()
    (root / "made" / "train2017").rename(folder / "images")
    made = root / "made" / "annotations"
    (made / "panoptic_train2017").rename(folder / "panoptic")
    for source, target in (("panoptic", "panoptic.json"), ("instances", "person.json")):
        content = json.loads((made / f"{source}_train2017.json").read_text())
        for record in content["images"]:
            record["id"] = renumbered(record["id"])
        for record in content["annotations"]:
            record["image_id"] = renumbered(record["image_id"])
        if source == "instances":
            kept = range(10_000_000, 10_000_099)
            content["images"] = [r for r in content["images"] if r["id"] in kept]
            content["annotations"] = [r for r in content["annotations"] if r["image_id"] in kept]
        (folder / target).write_text(json.dumps(content))
    return folder


def renumbered(image: int) -> int:
    """The last two of four pictures get numbers that COCO does not have."""
    return image if image <= 2 else 10_000_000 + image
