"""Models and results for other programs: torch.export, ONNX, supervision, COCO, FiftyOne."""

from __future__ import annotations

from segblocks.interop.coco import to_coco_video
from segblocks.interop.exported import ClipProgram, Signature, export_program, save_program
from segblocks.interop.fiftyone import save_video_labels, to_video_labels
from segblocks.interop.onnx import export_onnx, read_signature
from segblocks.interop.supervision import to_detections

__all__ = [
    "ClipProgram",
    "Signature",
    "export_onnx",
    "export_program",
    "read_signature",
    "save_program",
    "save_video_labels",
    "to_coco_video",
    "to_detections",
    "to_video_labels",
]
