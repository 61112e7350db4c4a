"""What the zoo knows of a model. Nothing here imports Paddle, so that configs can be checked before it is started."""

from __future__ import annotations

import pkgutil
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING

from video_zoo.configs.schema import Config, ModelSection
from video_zoo.models.pretrained import Weights, other_weights
from video_zoo.utils.errors import InputError
from video_zoo.utils.registry import Registry

if TYPE_CHECKING:
    from video_zoo.models.network import VideoNetwork


@dataclass(frozen=True)
class ClipSizes:
    """The clips that a 3-D network takes.

    Args:
        frames, pixels: the fewest frames, and the smallest crop.
        most_frames, most_pixels: None: any.
    """

    frames: int = 1
    pixels: int = 1
    most_frames: int | None = None
    most_pixels: int | None = None

    def check(self, name: str, settings: Config, mode: str) -> None:
        """Raises InputError if the clips of a mode are others: `name` is the network's."""
        section = mode.upper()
        if settings.seg_num(mode) != 1:
            raise InputError(
                f"{section}.seg_num is {settings.seg_num(mode)}, and a clip of {name} is one segment of MODEL.seglen"
                " frames: that protocol or key is for networks on images"
            )
        frames, _, size, _ = settings.clip_shape(mode)
        limits = ((frames, self.frames, self.most_frames), (size, self.pixels, self.most_pixels))
        if any(found < least or found > (most or found) for found, least, most in limits):
            taken = (_span(least, most) for _, least, most in limits)
            raise InputError(
                "{} takes clips of {} frames (MODEL.seglen) and crops of {} px ({}.target_size), and the config has"
                " {} and {}".format(name, *taken, section, frames, size)
            )


@dataclass(frozen=True)
class ModelSpec:
    """A model's record.

    Args:
        name: as --model_name takes it, in capital letters.
        network: "module:Class" of its VideoNetwork, which is imported when it is built, as it imports Paddle.
        config: the class of its MODEL section. The keys that it adds to ModelSection are the network's arguments.
        paper: authors, title, place and year.
        train_transform, eval_transform: how images are scaled and cropped, by their names in datareader.transforms.
        weights: the released ones, by their names in --pretrain; "kinetics" is what --weights takes if it is left out.
        clips: of a 3-D network, those that it takes; None: it is one on images.
    """

    name: str
    network: str
    config: type[ModelSection]
    paper: str
    train_transform: str
    eval_transform: str
    weights: Mapping[str, Weights] = field(default_factory=dict)
    clips: ClipSizes | None = None

    def network_class(self) -> type[VideoNetwork]:
        """The network's class; imports Paddle."""
        return pkgutil.resolve_name(self.network)

    def released(self, name: str, flag: str) -> Weights:
        """The released weights of that name. Raises InputError if there are none, which names the flag for others."""
        if name not in self.weights:
            raise InputError(f"no {name} weights are published for {self.name}. {other_weights(flag)}")
        return self.weights[name]


def describe(models: Registry[ModelSpec]) -> str:
    """The zoo for people to read: each model's paper, its keys, and its released weights with what they expect."""
    blocks = []
    for name, spec in models.items():
        keys = ", ".join(_describe_key(key).replace(" ", "\0") for key in own_keys(spec.config))  # wrapped between keys
        lines = [line.replace("\0", " ") for line in textwrap.wrap(keys, 108)]
        rows = [("paper", spec.paper), *zip(["keys"] + [""] * len(lines), lines)]
        for choice, weights in spec.weights.items():
            score = "" if weights.top1 is None else f", top-1 {weights.top1:.1%}"
            fits = "".join(f", {key} {value}" for key, value in weights.fits.items())
            rows.append((choice, f"{weights.name}: {weights.trained_on}{score}{fits}"))
            colours = f"mean {_numbers(weights.image_mean)}, std {_numbers(weights.image_std)}"
            rows.append(("", f"expects {weights.short_size} px, crop {weights.target_size}, {colours}"))
        blocks.append("\n".join([name, *(f"  {title:<9} {text}" for title, text in rows)]))
    return "\n\n".join(blocks)


def own_keys(section: type[ModelSection]) -> list[Field]:
    """The keys that a model's section adds to those that all models have."""
    shared = {key.name for key in fields(ModelSection)}
    return [key for key in fields(section) if key.name not in shared]


def _describe_key(key: Field) -> str:
    default = "unset" if key.default is None else key.default
    choices = key.metadata["choices"]
    return f"{key.name} = {default}" + (f" ({' '.join(map(str, choices))})" if choices else "")


def _span(least: int, most: int | None) -> str:
    return f"at least {least}" if most is None else f"{least} to {most}"


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
