"""A float32 ONNX program as one that computes in float16, for GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from video_zoo.engine.backends.onnx_runtime import ERRORS_ONLY, import_onnxruntime
from video_zoo.utils.errors import InputError

if TYPE_CHECKING:
    import onnx

_ENDS = ("ReduceMean", "GlobalAveragePool", "Gemm", "MatMul", "Softmax")  # the first of them behind the convolutions
_OF_SIZES = ("Cast", "Div", "Floor")  # they compute the number of clips as a float
_NEW_VALUES = ("Conv", "Add", "Mul")  # others pass on values that are float16 already


def write_float16(source: Path, path: Path) -> None:
    """Writes a program that computes in float16 from its first convolution to its last. The input stays uint8 and the
    output float32; the normalisation, the means, the last layer and the softmax stay in float32.

    BatchNorm is folded into the weights before, in float32: a variance may lie beyond float16 where no weight does.

    Raises InputError: a weight lies beyond float16.
    """
    import onnx

    versions = onnx.load(str(source)).opset_import
    _fold(source, path)
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)))
    del model.opset_import[:]  # ONNX Runtime lists all that it knows
    model.opset_import.extend(versions)
    _Float16(model.graph).convert()
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _fold(source: Path, path: Path) -> None:
    """Computes what depends on constants alone; the operators stay those of ONNX."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(path)
    options.log_severity_level = ERRORS_ONLY
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


class _Float16:
    """Changes a graph whose values all have a known type."""

    def __init__(self, graph: onnx.GraphProto):
        from onnx import TensorProto

        self._float32, self._float16 = TensorProto.FLOAT, TensorProto.FLOAT16
        self._graph, self._nodes = graph, []
        self._weights = {each.name: each for each in graph.initializer}
        self._types = {each.name: each.type.tensor_type.elem_type for each in (*graph.value_info, *graph.output)}
        self._types.update({name: weight.data_type for name, weight in self._weights.items()})

    def convert(self) -> None:
        graph, nodes = self._graph, list(self._graph.node)
        convolutions = [place for place, node in enumerate(nodes) if node.op_type == "Conv"]
        ends = [place for place, node in enumerate(nodes) if convolutions[-1:] < [place] and node.op_type in _ENDS]
        if not convolutions or not ends:
            raise InputError("the network has no float16 program: it has no convolutions, or no mean behind them")
        end = ends[0]
        for place, node in enumerate(nodes):
            inside = convolutions[0] <= place < end and node.op_type not in _OF_SIZES
            for slot, name in enumerate(node.input):
                node.input[slot] = self._as(name, self._float16 if inside else self._float32)
            self._nodes.append(node)
            if inside:
                self._round_outputs(node)
        used = {name for node in self._nodes for name in node.input}
        del graph.node[:], graph.value_info[:], graph.initializer[:]
        graph.node.extend(self._nodes)
        graph.initializer.extend(weight for name, weight in self._weights.items() if name in used)

    def _as(self, name: str, wanted: int) -> str:
        """The name under which a value has a type; what is no float stays as it is."""
        from onnx import helper, numpy_helper

        if self._types.get(name) not in (self._float32, self._float16) or self._types[name] == wanted:
            return name
        converted = f"{name}_{'float16' if wanted == self._float16 else 'float32'}"
        if converted not in self._types:
            self._types[converted] = wanted
            if name in self._weights:
                values = numpy_helper.to_array(self._weights[name])
                self._weights[converted] = numpy_helper.from_array(_to_float16(values, name), converted)
            else:
                self._nodes.append(helper.make_node("Cast", [name], [converted], to=wanted))
        return converted

    def _round_outputs(self, node: onnx.NodeProto) -> None:
        """Marks a node's floats as float16.

        On a CPU ONNX Runtime computes float16 in float32. It rounds in between only where two nodes in a row have
        float16, as Identity has, so with two of them a CPU shows what float16 loses and where it overflows. On a GPU
        ONNX Runtime leaves them out.
        """
        from onnx import helper

        for slot, name in enumerate(node.output):
            if self._types[name] != self._float32:
                continue
            self._types[name] = self._float16
            if node.op_type in _NEW_VALUES:
                node.output[slot] = f"{name}_computed"
                self._nodes.append(helper.make_node("Identity", [f"{name}_computed"], [f"{name}_rounded"]))
                self._nodes.append(helper.make_node("Identity", [f"{name}_rounded"], [name]))


def _to_float16(values: np.ndarray, name: str) -> np.ndarray:
    """Raises InputError if one is too large."""
    with np.errstate(over="ignore"):
        found = values.astype(np.float16)
    if not np.isfinite(found).all():
        raise InputError(
            f"the network has no float16 program: weights with BatchNorm in them ({name}) are up to"
            f" {np.abs(values).max():.1e}, and float16 ends at {np.finfo(np.float16).max:.0f}. Nothing was written;"
            " leave --fp16 out"
        )
    return found
