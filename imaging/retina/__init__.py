"""OCT retina: the seed's parameters, a KServe-v2 server or a local ONNX model, the answer."""
