"""Pictures of results, and of what happens inside a model."""

from __future__ import annotations

from segblocks.viz.colors import id_color, id_colors
from segblocks.viz.labels import Label, draw_labels
from segblocks.viz.layout import contact_sheet, side_by_side
from segblocks.viz.overlay import overlay, overlay_semantic
from segblocks.viz.results import draw_result, track_label_map

__all__ = [
    "Label",
    "contact_sheet",
    "draw_labels",
    "draw_result",
    "id_color",
    "id_colors",
    "overlay",
    "overlay_semantic",
    "side_by_side",
    "track_label_map",
]
