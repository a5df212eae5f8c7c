"""The network: backbones by name, head and card, its export to ONNX, its quantisation."""
