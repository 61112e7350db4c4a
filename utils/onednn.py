"""Convolutions of Paddle's tensors on an x86 CPU, forward and backward, by oneDNN.

Paddle's package has the library, but uses it in inference programs alone: in dynamic mode its convolutions are matrix
products, image by image, of copies of the pixels, which takes 1.5 to 4 times as long (benchmark/RESULTS.md). The
calls are those of oneDNN's C interface, version 3 (https://uxlfoundation.github.io/oneDNN/, "Convolution").
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import threading
import weakref
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import paddle

_LIBRARIES = ("libdnnl.so.3", "libdnnl.3.dylib", "mkldnn.dll")  # on Linux, macOS and Windows
_VERSION = 3
_SWITCH = "FLAGS_use_mkldnn"  # Paddle's own, which it ignores in dynamic mode
# Values of oneDNN's dnnl_types.h.
_CPU, _IN_ORDER, _FLOAT32, _ANY, _TRAINING, _DIRECT, _OUT_OF_MEMORY = 1, 1, 3, 1, 64, 1, 1
_Pointer = ctypes.c_void_p
_Sizes = ctypes.c_int64 * 12
_PLAIN_PIXELS = 196  # from so many on, a 1x1 convolution is quick as a product of matrices, without another layout


class _Role(NamedTuple):
    """What a tensor is to a primitive: its argument in a call, and the question for its layout."""

    argument: int
    query: int


_SOURCE, _WEIGHTS, _RESULT = _Role(1, 129), _Role(33, 131), _Role(17, 133)
_SOURCE_GRADIENT, _WEIGHTS_GRADIENT, _RESULT_GRADIENT = _Role(129, 130), _Role(161, 132), _Role(145, 134)


class _Argument(ctypes.Structure):
    _fields_ = (("argument", ctypes.c_int), ("memory", _Pointer))


class _Library:
    """oneDNN's functions, and the engine and the stream that they take."""

    def __init__(self, path: Path):
        self.one_at_a_time = threading.Lock()  # threads would share a primitive's scratchpad
        self.functions = ctypes.CDLL(str(path))
        self.functions.dnnl_version.restype = ctypes.POINTER(ctypes.c_int)
        self.functions.dnnl_primitive_desc_query_md.restype = _Pointer
        self.functions.dnnl_memory_desc_get_size.restype = ctypes.c_size_t
        self.version = self.functions.dnnl_version()[0]
        if self.version == _VERSION:
            self.engine = self.make("engine_create", _CPU, ctypes.c_size_t(0))
            self.stream = self.make("stream_create", self.engine, _IN_ORDER)

    def call(self, name: str, *arguments: Any) -> None:
        """Raises MemoryError, or RuntimeError if oneDNN fails otherwise."""
        status = getattr(self.functions, f"dnnl_{name}")(*arguments)
        if status:
            kind = MemoryError if status == _OUT_OF_MEMORY else RuntimeError
            raise kind(f"oneDNN's {name} failed with status {status}")

    def make(self, name: str, *arguments: Any) -> _Pointer:
        """What a function writes to the address that is its first argument."""
        made = _Pointer()
        self.call(name, ctypes.byref(made), *arguments)
        return made

    def size(self, layout: _Pointer) -> int:
        """Float32 values that a tensor of the layout takes."""
        return self.functions.dnnl_memory_desc_get_size(layout) // 4

    def destroy_with(self, owner: object, kind: str, made: _Pointer) -> None:
        """Destroys what was made when its owner goes, but not at the end of the process."""
        weakref.finalize(owner, getattr(self.functions, f"dnnl_{kind}_destroy"), made).atexit = False


def _open_library() -> _Library | None:
    """Paddle's oneDNN; None where it has none, or another version, or a person has turned it off."""
    if os.environ.get(_SWITCH, "").lower() in ("0", "false", "no"):
        return None
    folder = Path(paddle.__file__).parent / "libs"
    for path in (folder / name for name in _LIBRARIES):
        if path.is_file():
            try:
                library = _Library(path)
            except (OSError, AttributeError):  # what it is linked with is missing
                return None
            return library if library.version == _VERSION else None
    return None


_library = functools.cache(_open_library)


def is_there() -> bool:
    """Whether this Paddle has a oneDNN that is known here, and FLAGS_use_mkldnn=0 does not turn it off."""
    return _library() is not None


def _room(values: int | Sequence[int]) -> paddle.Tensor:
    return paddle.empty([values] if isinstance(values, int) else values, dtype="float32")


class _Layout:
    """How a float32 tensor of a shape lies in memory: its axes one within the other in `order`, or, without it, as a
    primitive likes."""

    def __init__(self, shape: Sequence[int], order: Iterable[int] | None = None):
        library, sizes = _library(), _Sizes(*shape)
        if order is None:
            self.pointer = library.make("memory_desc_create_with_tag", len(shape), sizes, _FLOAT32, _ANY)
        else:
            strides, step = _Sizes(), 1
            for axis in reversed([*order]):
                strides[axis], step = step, step * shape[axis]
            self.pointer = library.make("memory_desc_create_with_strides", len(shape), sizes, _FLOAT32, strides)
        library.destroy_with(self, "memory_desc", self.pointer)


class _Primitive:
    """A computation, made once for its shapes and layouts, and run on tensors."""

    def __init__(self, name: str, *arguments: Any):
        library = _library()
        self.description = library.make(f"{name}_primitive_desc_create", *arguments, None)
        library.destroy_with(self, "primitive_desc", self.description)
        self._primitive = library.make("primitive_create", self.description)
        library.destroy_with(self, "primitive", self._primitive)

    def layout(self, role: _Role) -> _Pointer:
        """That it wants, or has chosen."""
        return _Pointer(_library().functions.dnnl_primitive_desc_query_md(self.description, role.query, 0))

    def run(self, *tensors: tuple[_Role, _Pointer, paddle.Tensor]) -> None:
        """Computes. Each tensor has its role and the layout in which it lies."""
        library, arguments = _library(), (_Argument * len(tensors))()
        try:
            for argument, (role, layout, tensor) in zip(arguments, tensors):
                memory = library.make("memory_create", layout, library.engine, _Pointer(tensor.data_ptr()))
                argument.argument, argument.memory = role.argument, memory
            with library.one_at_a_time:
                library.call("primitive_execute", self._primitive, library.stream, len(tensors), arguments)
                library.call("stream_wait", library.stream)
        finally:
            for argument in filter(lambda each: each.memory, arguments):
                library.functions.dnnl_memory_destroy(_Pointer(argument.memory))


class _Move:
    """Copies a tensor from one layout to another; where both are the same, it is taken as it is."""

    def __init__(self, old: _Pointer, new: _Pointer):
        library = _library()
        self.old, self.new = old, new
        same = library.functions.dnnl_memory_desc_equal(old, new)
        self._primitive = None if same else _Primitive("reorder", old, library.engine, new, library.engine)

    def __call__(self, tensor: paddle.Tensor, target: paddle.Tensor | None = None) -> paddle.Tensor:
        if self._primitive is None:
            return tensor
        moved = _room(_library().size(self.new)) if target is None else target
        self._primitive.run((_SOURCE, self.old, tensor), (_RESULT, self.new, moved))
        return moved

    def room(self, target: paddle.Tensor) -> paddle.Tensor:
        """Where to write in the old layout what is then moved to the target."""
        return target if self._primitive is None else _room(_library().size(self.old))


class _Step:
    """A primitive of tensors in plain layouts, which are moved to those that it wants, and its result back.

    Args:
        inputs: role -> plain layout.
        result: likewise, of what it computes.
        shape: of the result, as Paddle has it.
    """

    def __init__(self, primitive: _Primitive, inputs: dict[_Role, _Layout], result: tuple[_Role, _Layout], shape):
        self._primitive, self._layouts, self._shape = primitive, (inputs, result), shape  # which must live on
        self._inputs = [(role, _Move(plain.pointer, primitive.layout(role))) for role, plain in inputs.items()]
        self._role, plain = result
        self._result = _Move(primitive.layout(self._role), plain.pointer)

    def __call__(self, *tensors: paddle.Tensor) -> paddle.Tensor:
        inputs = [(role, move.new, move(tensor)) for (role, move), tensor in zip(self._inputs, tensors)]
        target = _room(self._shape)
        found = self._result.room(target)
        self._primitive.run(*inputs, (self._role, self._result.old, found))
        return self._result(found, target)


class Convolution:
    """A convolution of float32 tensors on the CPU without bias, made once for its shapes. Raises MemoryError, or
    RuntimeError where oneDNN does not take them.

    Args:
        source: (N, C, H, W), or (N, C, T, H, W) in three dimensions.
        weights: (C', C / groups, kernel ...).
        strides: of each axis of the kernel.
        before, after: zeros at the start and the end of each axis.
        channels_last: the tensors are (N, H, W, C); `source` and `weights` are said as above.

    Attributes:
        forward: source, weights -> result.
        backward_data: gradient of the result, weights -> gradient of the source.
        backward_weights: source, gradient of the result -> gradient of the weights.
    """

    def __init__(
        self,
        source: Sequence[int],
        weights: Sequence[int],
        strides: Sequence[int],
        before: Sequence[int],
        after: Sequence[int],
        groups: int = 1,
        channels_last: bool = False,
    ):
        axes, kernel = len(source), weights[2:]
        sizes = [
            (size + start + end - length) // stride + 1
            for size, length, stride, start, end in zip(source[2:], kernel, strides, before, after)
        ]
        result = (source[0], weights[0], *sizes)
        grouped = weights if groups == 1 else (groups, weights[0] // groups, *weights[1:])
        order = (0, *range(2, axes), 1) if channels_last else range(axes)
        x, y, w = _Layout(source, order), _Layout(result, order), _Layout(grouped, range(len(grouped)))
        # What is asked of oneDNN: any layout that it likes, or to take the tensors as they are.
        # Of tensors in NHWC with fewer channels than 8, its gradients of 1x1 convolutions with strides are wrong.
        is_product = math.prod(kernel) == max(strides) == 1 and math.prod(sizes) >= _PLAIN_PIXELS
        plain = is_product or (channels_last and math.prod(kernel) > 1)
        any_x, any_w, any_y = (x if plain else _Layout(source), _Layout(grouped), y if plain else _Layout(result))
        library = _library()
        geometry = (_Sizes(*strides), _Sizes(), _Sizes(*before), _Sizes(*after))  # the second: no dilation
        x_w_y = [any_x.pointer, any_w.pointer, any_y.pointer]
        x_w_b_y = [*x_w_y[:2], None, any_y.pointer]
        forward = _Primitive("convolution_forward", library.engine, _TRAINING, _DIRECT, *x_w_b_y, *geometry)
        hint = forward.description
        data = _Primitive("convolution_backward_data", library.engine, _DIRECT, *x_w_y, *geometry, hint)
        by_w = _Primitive("convolution_backward_weights", library.engine, _DIRECT, *x_w_b_y, *geometry, hint)
        x_shape, y_shape = ([shape[axis] for axis in order] for shape in (source, result))
        self.forward = _Step(forward, {_SOURCE: x, _WEIGHTS: w}, (_RESULT, y), y_shape)
        self.backward_data = _Step(data, {_RESULT_GRADIENT: y, _WEIGHTS: w}, (_SOURCE_GRADIENT, x), x_shape)
        self.backward_weights = _Step(by_w, {_SOURCE: x, _RESULT_GRADIENT: y}, (_WEIGHTS_GRADIENT, w), [*weights])
