"""Ultrasound: the seed's record, local ONNX models for classification and segmentation."""
