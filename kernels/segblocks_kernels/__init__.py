"""Kernels of segblocks: functions on tensors, each with a PyTorch reference and a Triton version."""
