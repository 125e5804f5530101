"""Trained networks for other programs: ONNX files, and weights in PyTorch's layout."""
