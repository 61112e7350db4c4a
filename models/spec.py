"""What the zoo knows of a model. Nothing here imports Paddle, so that configs can be checked before it is started."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Mapping
from dataclasses import Field, dataclass, field, fields
from typing import TYPE_CHECKING

from video_zoo.configs.schema import ModelSection
from video_zoo.models.pretrained import Weights, other_weights
from video_zoo.utils.errors import InputError
from video_zoo.utils.registry import Registry

if TYPE_CHECKING:
    from video_zoo.models.network import VideoNetwork


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
    """

    name: str
    network: str
    config: type[ModelSection]
    paper: str
    train_transform: str
    eval_transform: str
    weights: Mapping[str, Weights] = field(default_factory=dict)

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
        rows = [("paper", spec.paper), ("keys", ", ".join(map(_describe_key, own_keys(spec.config))))]
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


def _numbers(values: Iterable[float]) -> str:
    return " ".join(f"{value:g}" for value in values)
