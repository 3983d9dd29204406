"""The weights of a compiled transformer in eight bits: CPUs multiply them faster, and they take less memory.

The weights of one output share a scale, a 127th of the largest of them. OpenVINO itself quantises the numbers that they
are multiplied with, while it computes (`DYNAMIC_QUANTIZATION_GROUP_SIZE`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openvino
from openvino import opset8

_LARGEST_CODE = 127


def quantise_weights(model: openvino.Model) -> int:
    """Replace the constant matrices of matrix products by eight-bit ones, in place. Returns how many there were."""
    found = 0
    for node in model.get_ops():
        if node.get_type_name() == "MatMul" and (weights := _constant_matrix(node.input_value(1))) is not None:
            outputs_first = node.get_attributes()["transpose_b"]
            scales = np.abs(weights).max(axis=1 if outputs_first else 0, keepdims=True) / _LARGEST_CODE
            codes = np.round(weights / np.where(scales == 0, 1, scales)).astype(np.int8)
            restored = opset8.multiply(opset8.convert(opset8.constant(codes), "f32"), opset8.constant(scales))
            node.input(1).replace_source_output(restored.output(0))
            found += 1
    return found


def _constant_matrix(source: Any) -> np.ndarray | None:
    """The values of a constant with two dimensions; None if the source is anything else."""
    node = source.get_node()
    if node.get_type_name() == "Convert":
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant" or len(node.get_output_shape(0)) != 2:
        return None
    values: np.ndarray = np.asarray(node.data, np.float32)
    return values
