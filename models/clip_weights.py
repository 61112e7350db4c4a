"""Weights of other projects' 3-D networks to ours and back, as arrays.

The names are the same on both sides (ClipNetwork.project says whose they are); the matrices of linear layers are
(out, in) in PyTorch and (in, out) here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from video_zoo.configs.schema import ModelSection
from video_zoo.models.clip_models import CLIP_MODELS
from video_zoo.models.clip_network import ClipNetwork
from video_zoo.models.spec import ModelSpec
from video_zoo.models.torch_weights import as_float32
from video_zoo.utils.errors import InputError

_LEAVES = ("weight", "bias", "running_mean", "running_var")


@dataclass(frozen=True)
class ClipWeights:
    """Weights of a 3-D network, checked.

    Args:
        spec: the network's record.
        keys: of its MODEL section, that the weights tell.
        arrays: float32, by their names.
    """

    spec: ModelSpec
    keys: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    @property
    def project(self) -> str:
        """Whose names these are."""
        return _network(self.spec).project

    @property
    def section(self) -> ModelSection:
        """The MODEL section of the network."""
        return self.spec.config(**self.keys)

    def __str__(self) -> str:
        return ", ".join([self.spec.name, *(f"{key} {value}" for key, value in self.keys.items())])


def is_weight(name: str) -> bool:
    """Whether a name is one of a weight or a statistic of a 3-D network."""
    return name.rpartition(".")[2] in _LEAVES


def find_model(names: Mapping[str, np.ndarray]) -> ModelSpec | None:
    """The 3-D network that arrays, theirs or ours, are of; None: of none."""
    shapes = {name.removeprefix("module."): np.shape(array) for name, array in names.items()}
    return next((spec for spec in CLIP_MODELS if _network(spec).owns(shapes)), None)


def convert(arrays: Mapping[str, np.ndarray], spec: ModelSpec, *, to_ours: bool, source: str) -> ClipWeights:
    """Another project's weights as ours, or ours as theirs.

    Args:
        arrays: of any float type; what is no weight, such as counters and momenta, is left out.
        spec: what `find_model` said.
        source: what messages call the weights.

    Raises InputError: a name has no place or is missing, a shape differs, or a number is not finite.
    """
    arrays = {name.removeprefix("module."): array for name, array in arrays.items()}
    arrays = {name: array for name, array in arrays.items() if is_weight(name)}
    shapes, network = {name: np.shape(array) for name, array in arrays.items()}, _network(spec)
    for name in network.last_layer:
        if len(shapes.get(name, ())) == 0:
            raise InputError(f"{source} is no whole {spec.name}: {name} is missing or empty")
    keys = network.keys_of(shapes)
    made = network.from_config(spec.config(**keys), seg_num=1)
    expected = {name: tuple(tensor.shape) for name, tensor in made.variables().items()}
    _check_names(arrays, expected, spec.name, source)
    found = {}
    for name, shape in expected.items():
        is_turned = len(shape) == 2  # only a linear layer's weight has two axes
        array, theirs = np.asarray(arrays[name]), shape[::-1] if is_turned else shape
        if array.shape != (theirs if to_ours else shape) or array.dtype.kind != "f":
            raise InputError(
                f"{source}: {name} is {array.dtype} of shape {list(array.shape)}; of this {spec.name} it is made of"
                f" floating-point numbers, of shape {list(theirs if to_ours else shape)}"
            )
        found[name] = as_float32(np.ascontiguousarray(array.T) if is_turned else array, name, source)
    return ClipWeights(spec, keys, found)


def _check_names(arrays: Mapping[str, Any], expected: Mapping[str, Any], model: str, source: str) -> None:
    left = [name for name in arrays if name not in expected]
    missing = [name for name in expected if name not in arrays]
    if left or missing:
        said = [f"{left[0]} has no place ({len(left)} such)"] if left else []
        said += [f"{missing[0]} is missing ({len(missing)} of {len(expected)})"] if missing else []
        raise InputError(f"{source} is no whole {model}, or another of its family: {', and '.join(said)}")


def _network(spec: ModelSpec) -> type[ClipNetwork]:
    return spec.network_class()
