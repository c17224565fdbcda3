"""Models and results for other programs: torch.export, ONNX, supervision, COCO, FiftyOne."""
