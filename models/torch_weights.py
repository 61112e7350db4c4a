"""Weights of other projects' TSM and TSN to ours and back, as arrays.

Three things differ, and all are undone exactly:

- The names: models/weight_layouts.py and models/mobilenet_layouts.py.
- Which way the shift goes. PyTorch's TSM takes the first eighth of the channels from frame t+1 and the second from
  t-1, ours the first from t-1 and the second from t+1. So the two eighths change places wherever the residual stream
  is written or read. A "uni" TSM takes the first from t-1 in both; so does MIT's online MobileNetV2.
- Dropout. At inference ours multiplies the features by 1 - p, as Paddle 1.x did, and PyTorch's leaves them alone: the
  last layer's weight makes up for it. For a p of 0.5 that is a factor of 2, which loses nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np

from video_zoo.models.mobilenet_layouts import MOBILENET_LAYOUTS
from video_zoo.models.mobilenet_v2 import candidate_widths
from video_zoo.models.resnet import STAGES
from video_zoo.models.tsm import TSM
from video_zoo.models.tsn import TSN
from video_zoo.models.weight_layouts import FC_WEIGHT, LAYOUTS, ConvBN, Layout, Network, Tensor, tensors_of
from video_zoo.utils.errors import InputError

LAYOUTS_OF = {"mobilenet_v2": MOBILENET_LAYOUTS, "resnet": LAYOUTS}
DROPOUT = {"TSM": TSM.default_dropout, "TSN": TSN.default_dropout}

_OURS = re.compile(
    r"(conv1|conv_last|res\w+_branch\w+|block\d+_\w+)_weights|bn\w+_(scale|offset|mean|variance)|fc_0\.[wb]_0"
    r"|nl\d\w+_(g|theta|phi|W)_(weights|biases)"
)
_WRAPPED = ".net."
_MIT_WITHOUT_DROPOUT = {"mobilenet_v2": "base_model.classifier", "resnet": "base_model.fc"}  # the last layer
_OTHER_WIDTHS = ". (MIT's code rounds the channels of width multipliers other than 1 in another way than torchvision's)"
_PREPROCESSOR = {  # MMAction2 keeps it among the weights; RGB of 0 to 255
    "data_preprocessor.mean": (123.675, 116.28, 103.53),
    "data_preprocessor.std": (58.395, 57.12, 57.375),
}


def to_ours(
    state: Mapping[str, np.ndarray],
    *,
    shift: str | None = None,
    dropout: float | None = None,
    source: str = "the checkpoint",
) -> tuple[dict[str, np.ndarray], str, Network]:
    """Another project's weights as ours.

    Args:
        state: its names -> arrays of any float type. BatchNorm's `num_batches_tracked` are left out.
        shift: "bi" or "uni", if it is a TSM, which names tell of MIT's online network alone; None: the network's own,
            or else "bi".
        dropout: with which our network will run, at least 0 and below 1; None: the model's own.
        source: what messages call the weights.

    Returns: (our names -> float32 arrays, the layout's name in LAYOUTS_OF its backbone, the network). A plain backbone
        is taken for a TSN.

    Raises:
        InputError: the layout is unknown, a name has no place or is missing, a shape differs, a number is not finite,
            only some blocks are shifted, the folds differ in size, or the shift is another.
    """
    state = {key: array for key, array in state.items() if not key.endswith("num_batches_tracked")}
    if state and all(key.startswith("module.") for key in state):
        state = {key[len("module.") :]: array for key, array in state.items()}
    _drop_preprocessor(state, source)
    backbone, name = _find_layout(state, source)
    layout = LAYOUTS_OF[backbone][name]
    if name == "mit" and f"{_MIT_WITHOUT_DROPOUT[backbone]}.weight" in state:
        layout = replace(layout, fc=_MIT_WITHOUT_DROPOUT[backbone])
    is_shifted = layout.one_way or layout.shifts and any(_WRAPPED in key for key in state)
    model = "TSM" if is_shifted else "TSN"
    if shift == "bi":
        _check_direction(name, layout, model, shift, source)
    non_local = layout.non_local and any(key.endswith(".nl.g.0.weight") for key in state)
    found = Network(model, non_local=non_local, backbone=backbone)
    found = replace(found, shift=shift or ("uni" if layout.one_way else "bi"))
    network = _recognize(state, "theirs", layout, found, source)
    network = replace(network, dropout=_dropout(model, dropout))
    variables = {}
    for tensor in tensors_of(network, layout):
        array = np.asarray(state[tensor.theirs])
        array = _exchanged(array.T if tensor.is_transposed else array, tensor, network)
        divisor = 1 - network.dropout if tensor.ours == FC_WEIGHT else 1
        variables[tensor.ours] = as_float32(array.astype(np.float64) / divisor, tensor.theirs, source)
    return variables, name, network


def from_ours(
    variables: Mapping[str, np.ndarray],
    layout: str,
    model: str,
    *,
    shift: str = "bi",
    dropout: float | None = None,
    source: str = "the checkpoint",
) -> tuple[dict[str, np.ndarray], Network]:
    """Our weights as another project's.

    Args:
        variables: our names -> arrays. What is no weight (momenta, counters) is left out.
        layout: of LAYOUTS_OF the backbone. In a plain backbone's, a TSM is the backbone that PyTorch's TSM can put its
            shifts into.
        model: "TSM" or "TSN": names do not tell.
        shift: "bi" or "uni", of a TSM.
        source: as in `to_ours`.
        dropout: that our network ran with; None: the model's own.

    Returns: (names as in the project's files -> float32 arrays, the network).

    Raises:
        InputError: as `to_ours`; or the project has no such network.
    """
    variables = {name: array for name, array in variables.items() if is_weight(name)}
    backbone = "mobilenet_v2" if any(name.startswith("block") for name in variables) else "resnet"
    if layout not in LAYOUTS_OF[backbone]:
        raise InputError(f"{source} is made of a {backbone}, and {layout} has none: {', '.join(LAYOUTS_OF[backbone])}")
    target = LAYOUTS_OF[backbone][layout]
    _check_direction(layout, target, model, shift, source)
    non_local = any(name.startswith("nl") for name in variables)
    if non_local and not target.non_local:
        raise InputError(f"{source} has non-local blocks: of the layouts here, {layout} has none; mit has")
    found = Network(model, shift=shift, non_local=non_local, backbone=backbone)
    network = _recognize(variables, "ours", target, found, source)
    network = replace(network, dropout=_dropout(model, dropout))
    if layout.startswith("mit") and network.width_multiplier != 1:
        raise InputError(
            f"{source} has width_multiplier {network.width_multiplier:g}, and MIT's code rounds the channels of"
            " multipliers other than 1 in another way: it has no such network"
        )
    if model == "TSM" and backbone == "resnet" and target.shifts and network.num_layers > 100:
        raise InputError(
            f"{source} is a TSM-{network.num_layers} with a shift in every block. {layout} shifts every second block"
            " where there are 101 layers or more, and would compute something else"
        )
    state = {}
    for tensor in tensors_of(network, target):
        array = _exchanged(np.asarray(variables[tensor.ours]), tensor, network)
        factor = 1 - network.dropout if tensor.ours == FC_WEIGHT else 1
        array = as_float32(array.astype(np.float64) * factor, tensor.ours, source)
        state[target.wrapper + tensor.theirs] = np.ascontiguousarray(array.T) if tensor.is_transposed else array
    return state, network


def is_weight(name: str) -> bool:
    """Whether a file in a folder of ours is a weight or a statistic of a network, by its name."""
    return _OURS.fullmatch(name) is not None


def exchange_folds(array: np.ndarray, axis: int) -> np.ndarray:
    """The array with the first and the second eighth of an axis in each other's place. Twice gives it back."""
    eighth = array.shape[axis] // 8
    first, second, rest = np.split(array, [eighth, 2 * eighth], axis)
    return np.concatenate([second, first, rest], axis)


def _exchanged(array: np.ndarray, tensor: Tensor, network: Network) -> np.ndarray:
    if network.model == "TSM" and network.shift == "bi":
        for axis in tensor.stream_axes:
            array = exchange_folds(array, axis)
    return array


def _recognize(arrays: Mapping[str, np.ndarray], side: str, layout: Layout, network: Network, source: str) -> Network:
    """The network with depth, width and classes, as names and shapes tell them.

    `side` says whose names and shapes they are: "ours" or "theirs". Raises InputError unless all of them fit.
    """

    def expected(network: Network) -> dict[str, Tensor]:
        return {getattr(tensor, side): tensor for tensor in tensors_of(network, layout)}

    if network.backbone == "resnet":
        depths = [replace(network, num_layers=depth) for depth in STAGES]
        network = min(depths, key=lambda each: len(arrays.keys() ^ expected(each).keys()))
    else:
        widths = (replace(network, width_multiplier=width) for width in candidate_widths())
        # Where none fits, the checks below say what is wrong.
        network = next((each for each in widths if _fits(arrays, side, layout.conv_bns(each))), network)
    tensors = expected(network)
    _check_names(arrays, list(tensors), network, source)
    stem, fc = list(tensors)[0], list(tensors)[-1]
    sizes = [(arrays[name].shape or (0,))[0] for name in (stem, fc)]
    if 0 in sizes:
        raise InputError(f"{source}: {stem if not sizes[0] else fc} is empty")
    network = replace(network, num_classes=sizes[1])
    if network.backbone == "resnet":
        network = replace(network, base_width=sizes[0])
    for name, tensor in expected(network).items():
        backwards = side == "theirs" and tensor.is_transposed
        _check_array(arrays[name], name, tensor.shape[::-1] if backwards else tensor.shape, network, source)
    widens_by_8 = network.backbone != "resnet" or network.base_width % 8 == 0
    if network.model == "TSM" and network.shift == "bi" and not widens_by_8:
        raise InputError(
            f"{source} is a TSM of base_width {network.base_width}, which is no multiple of 8: PyTorch's two folds and"
            " ours differ in size, and no order of the channels makes them equal"
        )
    return network


def _check_names(arrays: Mapping[str, np.ndarray], expected: list[str], network: Network, source: str) -> None:
    unshifted = [name for name in expected if _WRAPPED in name and name not in arrays]
    unshifted = [name for name in unshifted if name.replace(_WRAPPED, ".") in arrays]
    if unshifted:
        raise InputError(
            f"{source} shifts only some blocks of its {network.image_network}, the first without is"
            f" {unshifted[0].partition(_WRAPPED)[0]}; ours shifts all, and would compute something else. (MIT's code"
            " and MMAction2 shift every second block where there are 101 layers or more.)"
        )
    places = set(expected)
    left = [name for name in arrays if name not in places]
    if left:
        raise InputError(
            f"{source} is no plain {network.model}: of a {network.image_network}, {left[0]} has no place"
            f"{f', nor have {len(left) - 1} others' if left[1:] else ''}. Non-local blocks other than MIT's, temporal"
            " pooling, shifts of whole blocks and other backbones cannot be converted"
        )
    missing = [name for name in expected if name not in arrays]
    if missing:
        raise InputError(
            f"{source} is incomplete: {len(missing)} of the {len(expected)} tensors of a {network.name}"
            f" are missing, the first is {missing[0]}"
        )


def _check_array(array: np.ndarray, name: str, shape: tuple[int, ...], network: Network, source: str) -> None:
    if array.shape != shape:
        raise InputError(
            f"{source}: {name} has shape {list(array.shape)}, and in a {network.name} of {network.size} that reads RGB"
            f" {list(shape)}{_OTHER_WIDTHS if network.backbone == 'mobilenet_v2' else ''}"
        )
    if array.dtype.kind != "f":
        raise InputError(f"{source}: {name} is made of {array.dtype}, not of floating-point numbers")


def as_float32(array: np.ndarray, name: str, source: str) -> np.ndarray:
    """The array as float32. Raises InputError, with its name, if not all of it is finite then."""
    with np.errstate(over="ignore"):
        array = array.astype(np.float32)
    if not np.isfinite(array).all():
        raise InputError(f"{source}: {name} is not made of finite float32 numbers")
    return array


def _fits(arrays: Mapping[str, np.ndarray], side: str, convolutions: Iterable[ConvBN]) -> bool:
    """Whether the weights of all convolutions are there, with their shapes."""
    ending = {"ours": "_weights", "theirs": ".weight"}[side]
    return all(np.shape(arrays.get(getattr(unit, side)[0] + ending)) == unit.shape for unit in convolutions)


def _check_direction(name: str, layout: Layout, model: str, shift: str, source: str) -> None:
    if layout.one_way and (model, shift) != ("TSM", "uni"):
        what = f"a TSM with shift {shift}" if model == "TSM" else f"a {model}"
        raise InputError(f"{source} would be {what}; {name} is a TSM that takes frames from the past alone, shift uni")


def _find_layout(state: Mapping[str, np.ndarray], source: str) -> tuple[str, str]:
    for backbone, layouts in LAYOUTS_OF.items():
        for name, layout in layouts.items():
            if all(mark in state for mark in layout.marks):
                return backbone, name
    known = ", ".join(dict.fromkeys(name for layouts in LAYOUTS_OF.values() for name in layouts))
    names = f"its names begin with {', '.join(list(state)[:3])}" if state else "it holds none"
    raise InputError(
        f"{source} has no weights of a ResNet or MobileNetV2 in a layout known here ({known}): {names}. Other backbones"
        " cannot be converted"
    )


def _drop_preprocessor(state: dict[str, np.ndarray], source: str) -> None:
    for key, usual in _PREPROCESSOR.items():
        found = np.ravel(state.pop(key, usual))
        if found.shape != (3,) or not np.allclose(found, usual, rtol=1e-4):
            raise InputError(
                f"{source}: {key} is {found.tolist()}, and only {list(usual)} can be converted: RGB with ImageNet's"
                " mean and deviation"
            )


def _dropout(model: str, dropout: float | None) -> float:
    dropout = DROPOUT[model] if dropout is None else dropout
    if not 0 <= dropout < 1:
        raise InputError(f"dropout {dropout:g} is not at least 0 and below 1")
    return dropout
