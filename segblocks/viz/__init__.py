"""Pictures of results, and of what happens inside a model."""

from __future__ import annotations

from segblocks.viz.attention_cells import CellAttention, attention_cell, draw_attention_cell
from segblocks.viz.capture import Call, capture
from segblocks.viz.colors import id_color, id_colors
from segblocks.viz.descriptor import draw_descriptor
from segblocks.viz.heat import draw_heat, draw_spotlight
from segblocks.viz.labels import Label, draw_labels
from segblocks.viz.layout import contact_sheet, side_by_side
from segblocks.viz.masked_attention import AttentionMask, attention_masks
from segblocks.viz.overlay import overlay, overlay_semantic
from segblocks.viz.projection import feature_image, principal_axes
from segblocks.viz.query_plot import plot_queries
from segblocks.viz.report import write_report
from segblocks.viz.results import draw_result, track_label_map
from segblocks.viz.sampling import SamplingPoints, draw_sampling_points, sampling_points
from segblocks.viz.taxonomy_plot import plot_taxonomy
from segblocks.viz.tokens import spread_over_pixels, token_at, token_center

__all__ = [
    "AttentionMask",
    "Call",
    "CellAttention",
    "Label",
    "SamplingPoints",
    "attention_cell",
    "attention_masks",
    "capture",
    "contact_sheet",
    "draw_attention_cell",
    "draw_descriptor",
    "draw_heat",
    "draw_labels",
    "draw_result",
    "draw_sampling_points",
    "draw_spotlight",
    "feature_image",
    "id_color",
    "id_colors",
    "overlay",
    "overlay_semantic",
    "plot_queries",
    "plot_taxonomy",
    "principal_axes",
    "sampling_points",
    "side_by_side",
    "spread_over_pixels",
    "token_at",
    "token_center",
    "track_label_map",
    "write_report",
]
