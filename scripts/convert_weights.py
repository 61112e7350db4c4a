"""Converts weights of other projects' networks to ours, and ours to theirs, so that the outputs are equal.

    python scripts/convert_weights.py CHECKPOINT.pth OUT_FOLDER
    python scripts/convert_weights.py OUR_FOLDER OUT.pth --layout=mit

CHECKPOINT is a .pth of MIT's temporal-shift-module, of MMAction2 or of torchvision, or a .pdparams of paddle.vision or
PaddleClas, with a TSM, a TSN, a ResNet or, but for PaddleClas, a MobileNetV2; or a .pth of torchvision's s3d,
r2plus1d_18, r3d_18 or mc3_18, of piergiaj's I3D, of MMAction2's I3D of a ResNet-50 or of qijiezhao's P3D. Which of
them, its names tell. OUR_FOLDER is a checkpoint, a v1.5 folder, or a .tar.gz of either.
"""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()

import argparse
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from video_zoo.configs.schema import ModelSection
from video_zoo.models import MODELS
from video_zoo.models.backbones import BACKBONES
from video_zoo.utils import cli
from video_zoo.utils.errors import InputError
from video_zoo.utils.files import atomic_file, atomic_folder
from video_zoo.utils.fluid_vars import INFO_FILE, VariableStore, write_folder
from video_zoo.utils.paddle_env import start_paddle
from video_zoo.utils.safe_pickles import read_arrays
from video_zoo.utils.torch_files import import_torch, read_pth

if TYPE_CHECKING:
    from video_zoo.models.clip_weights import ClipWeights
    from video_zoo.models.weight_layouts import Network

HELP = """
What is done: names change; the first and the second eighth of the channels change places, because PyTorch's TSM takes
them from the next and from the previous frame, and ours the other way round; the last layer's weight makes up for
dropout, which multiplies by 1 - p at inference here and by nothing there. MIT's online MobileNetV2 (layout mit_online)
takes the first eighth from the previous frame, as ours does with shift uni: there, nothing changes places. 3-D networks
stay as they are, but for the matrices of linear layers, which are turned around.

What cannot be converted is refused: other backbones, MIT's MobileNetV2 with a width multiplier other than 1, whose
channels are rounded in another way, non-local blocks of a TSM of MMAction2, temporal pooling, input other than RGB, and
TSMs of 101 layers or more, of which MIT's code and MMAction2 shift every second block, and this project every block.

A .pth takes PyTorch; the build for CPUs is enough, and 5 GB smaller than the one with CUDA:
  pip install torch --index-url https://download.pytorch.org/whl/cpu
"""
PYTORCH = ("mit", "mit_online", "mmaction2", "torchvision", "piergiaj", "qijiezhao")


def to_folder(flags: argparse.Namespace) -> None:
    """CHECKPOINT -> OUT_FOLDER, and says what it found and did."""
    from video_zoo.models.clip_weights import convert, find_model
    from video_zoo.models.torch_weights import LAYOUTS_OF, to_ours

    _check_folder(flags.source, flags.target)
    state = read_arrays(flags.source) if flags.source.endswith(".pdparams") else read_pth(flags.source)
    if spec := find_model(state):
        clip_to_folder(flags, convert(state, spec, to_ours=True, source=flags.source))
        return
    variables, layout, network = to_ours(state, shift=flags.shift, dropout=flags.dropout, source=flags.source)
    is_video = LAYOUTS_OF[network.backbone][layout].shifts
    for flag, found in (("layout", layout), ("model_name", network.model if is_video else None)):
        asked = getattr(flags, flag)
        if found and asked not in (None, found):
            raise InputError(f"{flags.source} is of {found}, as its names tell, and --{flag} is {asked}")
    with atomic_folder(flags.target) as folder:
        write_folder(folder, variables, info_of(network))
    print(f"{flags.source}: {layout}, {network}, {len(variables)} tensors")
    _say_changes(network, 1 / (1 - network.dropout))
    print(f"{flags.target}: {len(variables)} variables and checkpoint.json")
    print(f"next: {_next_command(flags, network, is_video)}", flush=True)


def to_pth(flags: argparse.Namespace) -> None:
    """OUR_FOLDER -> OUT.pth, and says what it found and did."""
    from video_zoo.models.clip_weights import convert, find_model
    from video_zoo.models.clip_weights import is_weight as is_clip_weight
    from video_zoo.models.torch_weights import LAYOUTS_OF, from_ours, is_weight

    if flags.layout is None:
        raise InputError(f"{flags.source} is a folder of ours: say with --layout how to name its weights in the .pth")
    if os.path.isdir(flags.target):
        raise InputError(f"{flags.target} is a folder: give the name of a .pth to write")
    torch = import_torch(f"writing {flags.target}")
    store = VariableStore(flags.source)
    arrays = {name: store.read(name) for name in store.names() if is_clip_weight(name)}
    if spec := find_model(arrays):
        clip_to_pth(flags, convert(arrays, spec, to_ours=False, source=flags.source), torch)
        return
    of_images = [name for name in PYTORCH if any(name in layouts for layouts in LAYOUTS_OF.values())]
    if flags.layout not in of_images:
        raise InputError(
            f"{flags.source} is no network that {flags.layout} has: --layout takes {', '.join(of_images)} for it"
        )
    told = _what_it_tells(flags, store)
    variables = {name: store.read(name) for name in store.names() if is_weight(name)}
    state, network = from_ours(variables, flags.layout, source=flags.source, **told)
    is_video = LAYOUTS_OF[network.backbone][flags.layout].shifts
    tensors = {name: torch.from_numpy(array) for name, array in state.items()}
    with atomic_file(flags.target, "wb") as file:
        torch.save({"state_dict": tensors} if is_video else tensors, file)
    print(f"{flags.source}: {network}, {len(variables)} variables")
    _say_changes(network, 1 - network.dropout)
    if network.model == "TSM" and network.shift == "uni" and flags.layout != "mit_online":
        print("  take care: its shift is uni, the first eighth from the frame before; so must the other project's be")
    if network.model == "TSM" and not is_video:
        print(f"  take care: a plain {network.image_network} has no shifts; it is for PyTorch's TSM to put them in")
    print(f"{flags.target}: {len(state)} tensors as {flags.layout} names them", flush=True)


def clip_to_folder(flags: argparse.Namespace, weights: ClipWeights) -> None:
    """A 3-D network's CHECKPOINT -> OUT_FOLDER."""
    _check_clip_flags(flags, weights)
    section = weights.section
    told = {**weights.keys, "image_mean": section.image_mean, "image_std": section.image_std}
    info = {"model": weights.spec.name, "MODEL": told, "epoch": 0, "global_step": 0, "best_top1": -1.0}
    with atomic_folder(flags.target) as folder:
        write_folder(folder, dict(weights.arrays), info)
    usual = weights.spec.config()
    sets = [f" --set MODEL.{key}={value}" for key, value in weights.keys.items() if value != getattr(usual, key)]
    print(f"{flags.source}: {weights.project}, {weights}, {len(weights.arrays)} tensors")
    print(f"{flags.target}: {len(weights.arrays)} variables and checkpoint.json")
    name, path = weights.spec.name, shlex.quote(flags.target)
    print(f"next: python test.py --model_name={name} --weights={path}{''.join(sets)}", flush=True)


def clip_to_pth(flags: argparse.Namespace, weights: ClipWeights, torch: Any) -> None:
    """Our folder with a 3-D network -> OUT.pth."""
    _check_clip_flags(flags, weights)
    with atomic_file(flags.target, "wb") as file:
        torch.save({name: torch.from_numpy(array) for name, array in weights.arrays.items()}, file)
    print(f"{flags.source}: {weights}, {len(weights.arrays)} variables")
    print(f"{flags.target}: {len(weights.arrays)} tensors as {weights.project} names them", flush=True)


def _check_clip_flags(flags: argparse.Namespace, weights: ClipWeights) -> None:
    for flag, found in (("layout", weights.project), ("model_name", weights.spec.name)):
        asked = getattr(flags, flag)
        if asked not in (None, found):
            raise InputError(f"{flags.source} is of {found}, as its names tell, and --{flag} is {asked}")
    if flags.shift or flags.dropout is not None:
        raise InputError(f"{flags.source} is a {weights.spec.name}: --shift and --dropout are for TSM and TSN")


def info_of(network: Network) -> dict[str, Any]:
    """What checkpoint.json tells, so that test.py finds out if its config describes another network.

    With it, --resume begins at epoch 0, with the last layer too, as from a v1.5 folder.
    """
    from video_zoo.models.torch_weights import DROPOUT

    sizes = BACKBONES[network.backbone].sizes
    model = {name: getattr(network, name) for name in ("num_classes", "backbone", *sizes)}
    model |= {name: getattr(ModelSection(), name) for name in ("seglen", "image_mean", "image_std")}
    if network.model == "TSM":
        model |= {"shift": network.shift, "non_local": network.non_local}
    if network.dropout != DROPOUT[network.model]:
        model["dropout"] = network.dropout
    return {"model": network.model, "MODEL": model, "epoch": 0, "global_step": 0, "best_top1": -1.0}


def _check_folder(source: str, target: str) -> None:
    """The target is replaced as a whole: so it must be weights, and nothing else may be lost with it."""
    place = Path(target)
    if place.exists() and not place.is_dir():
        raise InputError(f"{target} is a file: give the name of a folder to write")
    firsts = {spec.network_class().first_layer for _, spec in MODELS.items()}
    if place.is_dir() and any(place.iterdir()) and not any((place / name).is_file() for name in firsts):
        raise InputError(f"{target} is a folder of something else, and would be replaced: give another name")
    foreign = sorted(file.name for file in place.iterdir() if not _is_ours(file.name)) if place.is_dir() else []
    if foreign:
        raise InputError(f"{target} would be replaced, and holds {foreign[0]}, too: move it, or give another name")
    if place.resolve() in Path(source).resolve().parents and place.is_dir():
        raise InputError(f"{target} holds {source}, and would be replaced: give another name")


def _is_ours(name: str) -> bool:
    """Whether a file of this name is one of a folder of weights: v1.5's, or a checkpoint of ours."""
    of_images = r"(conv1|conv_last|res\d|block\d|nl\d|bn|fc_0)\w*(\.[wb]_0\w*)?"
    of_clips = r"[\w.]+\.(weight|bias|running_mean|running_var)"
    return name == INFO_FILE or bool(re.fullmatch(rf"{of_images}|{of_clips}(_\w+)?|@LR_DECAY_COUNTER@", name))


def _what_it_tells(flags: argparse.Namespace, store: VariableStore) -> dict[str, Any]:
    """Model, shift and dropout of our weights, as checkpoint.json or the flags say."""
    info = store.info()
    trained = info.get("MODEL", {})
    model = _one_of(flags, "model_name", info.get("model"), ("TSM", "TSN"))
    if model is None:
        raise InputError(f"{flags.source} does not say whether it is a TSM or a TSN: --model_name=TSM or TSN does")
    shift = _one_of(flags, "shift", trained.get("shift"), ("bi", "uni")) if model == "TSM" else None
    dropout = trained.get("dropout") if flags.dropout is None else flags.dropout
    if not isinstance(dropout, (int, float, type(None))):
        raise InputError(f"{flags.source}: its checkpoint.json says dropout {dropout!r}; --dropout replaces it")
    for key in ("image_mean", "image_std"):
        if trained.get(key) not in (None, list(getattr(ModelSection(), key))):
            print(f"  take care: it was trained with {key} {trained[key]}, and so must the other project read frames")
    return {"model": model, "shift": shift or "bi", "dropout": dropout}


def _one_of(flags: argparse.Namespace, flag: str, told: Any, known: tuple[str, str]) -> str | None:
    """What the flag says, or else checkpoint.json; they must not differ."""
    asked = getattr(flags, flag)
    if told is None:
        return asked
    if told not in known or asked not in (None, told):
        wanted = f"--{flag} is {asked}" if asked else f"{' and '.join(known)} can be converted"
        raise InputError(f"{flags.source} is of {told}, as its checkpoint.json says, and {wanted}")
    return told


def _say_changes(network: Network, factor: float) -> None:
    if network.model == "TSM" and network.shift == "bi":
        print("  the first and the second eighth of the residual stream's channels have changed places")
    if factor != 1:
        print(f"  the last layer's weight is multiplied by {factor:g}, for a dropout of {network.dropout:g}")


def _next_command(flags: argparse.Namespace, network: Network, is_video: bool) -> str:
    weights, usual = shlex.quote(flags.target), MODELS.get(network.model).config()
    left_out = () if is_video else ("num_classes", "dropout")  # of the last layer, which --pretrain does not use
    found = {key: value for key, value in info_of(network)["MODEL"].items() if key not in left_out}
    sets = [f" --set MODEL.{key}={value}" for key, value in found.items() if value != getattr(usual, key)]
    if not is_video:
        return f"python train.py --model_name={flags.model_name or 'TSM'} --pretrain={weights}{''.join(sets)}"
    # Both projects scale the shorter side to 256 and keep the shape; v1.5 squeezes.
    sets.append(" --set TEST.keep_aspect=True")
    return f"python test.py --model_name={network.model} --weights={weights}{''.join(sets)}"


def _dropout(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 0.99:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 to 0.99")
    return number


def _parse_flags() -> argparse.Namespace:
    parser = cli.Parser(description=__doc__, epilog=HELP)
    add = parser.add_argument
    add("source", metavar="FROM", type=cli.path, help="CHECKPOINT.pth, or OUR_FOLDER")
    add("target", metavar="TO", type=cli.path, help="OUT_FOLDER, or OUT.pth; one that is there is replaced")
    add("--layout", choices=PYTORCH, help="whose names a .pth is written with")
    add("--model_name", choices=("TSM", "TSN"), help="of a folder that does not say it, as v1.5's")
    add("--shift", choices=("bi", "uni"), help="of a TSM; bi if nothing else is known, as all that others released")
    add("--dropout", type=_dropout, metavar="P", help="ours, at inference (the model's own: TSM 0.5, TSN 0)")
    return parser.parse_args()


def main() -> None:
    flags = _parse_flags()
    if not os.path.exists(flags.source):
        raise InputError(f"there is no {flags.source}: give a .pth, a .pdparams, or a folder of ours")
    from_folder = os.path.isdir(flags.source) or flags.source.endswith((".tar.gz", ".tgz"))
    start_paddle(use_gpu=False)
    to_pth(flags) if from_folder else to_folder(flags)


if __name__ == "__main__":
    cli.run(main)
