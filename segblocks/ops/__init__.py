"""The public functions on tensors: kernels, masks and their run-length form."""

from __future__ import annotations

from segblocks.ops.label_map import label_map_from_masks, masks_from_label_map
from segblocks.ops.label_propagation import LabelledCells, describe_cells, propagate_labels
from segblocks.ops.mask_iou import mask_iou
from segblocks.ops.mask_pool import mask_pool
from segblocks.ops.resize import resize_features, resize_logits
from segblocks.ops.rle import RLE
from segblocks_kernels import (
    MaskFromFeatures,
    backend_report,
    masked_cross_attention,
    ms_deform_attn,
    ms_deform_attn_fused,
    ragged_cross_attention,
    space_time_attention,
)

__all__ = [
    "RLE",
    "LabelledCells",
    "MaskFromFeatures",
    "backend_report",
    "describe_cells",
    "label_map_from_masks",
    "mask_iou",
    "mask_pool",
    "masked_cross_attention",
    "masks_from_label_map",
    "ms_deform_attn",
    "ms_deform_attn_fused",
    "propagate_labels",
    "ragged_cross_attention",
    "resize_features",
    "resize_logits",
    "space_time_attention",
]
