"""Building blocks, kernels and reference models for unified video segmentation."""

__version__ = "0.1.0"
