"""The networks of the table that zoo.py makes, and what is published of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

    from video_zoo.configs.schema import Config

CLASSES = 400
_TORCHVISION = "torchvision's metadata of its weights"
_MMACTION2 = "MMAction2's configs/recognition/tsm/README.md, 1.x"
_FIVE_CLIPS = "5 clips of 16 frames at 15 frames/s, centre crop"


@dataclass(frozen=True)
class Entry:
    """A network, its clip, and what is published of it on Kinetics-400.

    Args:
        title: in the table.
        config: the file in configs/.
        frames, size: of a clip; pixels.
        keys: of the MODEL section, beside the frames.
        gflops: multiply-adds a clip in billions, as published; None: no figure could be verified.
        gflops_source: whose figure.
        top1: in percent; None: none could be verified.
        protocol: with which it was measured, and its source.
        peer: the network in PyTorch, by the name that `torch_network` takes; "": there is none.
    """

    title: str
    config: str
    frames: int
    size: int
    keys: Mapping[str, Any] = field(default_factory=dict)
    gflops: float | None = None
    gflops_source: str = ""
    top1: float | None = None
    protocol: str = ""
    peer: str = ""

    @property
    def clip(self) -> str:
        """For the table."""
        return f"{self.frames} x {self.size}"

    def settings(self) -> Config:
        """The config; the clips of its mode "infer" are the entry's."""
        from video_zoo.configs.schema import Config
        from video_zoo.models import MODELS
        from video_zoo.utils import cli, config

        length = "seg_num" if self.config.startswith("ts") else "seglen"
        overrides = {
            "MODEL": {**self.keys, length: self.frames, "num_classes": CLASSES},
            "INFER": {"target_size": self.size, "short_size": round(self.size * 8 / 7)},
        }
        return config.load(str(cli.CONFIGS / self.config), Config, overrides, cli.model_sections(MODELS))

    def clips(self) -> np.ndarray:
        """uint8 (1, frames, 3, size, size), drawn from a seed."""
        return np.random.default_rng(0).integers(0, 256, (1, self.frames, 3, self.size, self.size), np.uint8)


_S3D = {"top1": 68.4, "protocol": f"one clip of 128 frames at 15 frames/s, centre crop; {_TORCHVISION}", "peer": "s3d"}
_TSM_SOURCE = {"gflops": 32.88, "gflops_source": _MMACTION2}

# Names are those of --networks.
ENTRIES = {
    "tsn": Entry(
        title="TSN-50",
        config="tsn.txt",
        frames=8,
        size=224,
        gflops=32.88,
        gflops_source=f"{_MMACTION2}, of TSM-50, whose shift computes nothing",
        top1=68.8,
        protocol="one clip, centre crop; MIT's README",
        peer="tsn",
    ),
    "tsm": Entry(
        title="TSM-50",
        config="tsm.txt",
        frames=8,
        size=224,
        **_TSM_SOURCE,
        top1=71.2,
        protocol="one clip, centre crop; MIT's README",
        peer="tsm",
    ),
    "tsm-nl": Entry(
        title="TSM-50, non-local",
        config="tsm_non_local.yaml",
        frames=8,
        size=224,
        gflops=61.30,
        gflops_source=_MMACTION2,
        top1=75.6,
        protocol="10 clips of 3 crops of 256; MIT's README",
    ),
    "i3d": Entry(title="I3D", config="i3d.yaml", frames=64, size=224, peer="i3d"),
    "i3d-16": Entry(title="I3D, 16 frames", config="i3d.yaml", frames=16, size=224, peer="i3d"),
    "i3d-r50": Entry(
        title="I3D-ResNet50",
        config="i3dresnet50.yaml",
        frames=32,
        size=224,
        top1=73.3,
        protocol="10 clips of 3 crops of 256; MMAction2's README, short side 256",
        peer="i3d_r50",
    ),
    "i3d-r50-nl": Entry(
        title="I3D-ResNet50, non-local",
        config="i3dresnet50.yaml",
        frames=32,
        size=224,
        keys={"non_local": True},
        top1=74.7,
        protocol="10 clips of 3 crops of 256; MMAction2's README, embedded Gaussian",
    ),
    "s3d": Entry(title="S3D", config="s3d.yaml", frames=64, size=224, **_S3D),
    "s3d-16": Entry(
        title="S3D, 16 frames",
        config="s3d.yaml",
        frames=16,
        size=224,
        gflops=17.979,
        gflops_source=_TORCHVISION,
        **_S3D,
    ),
    "s3d-g": Entry(title="S3D-G", config="s3d.yaml", frames=64, size=224, keys={"gating": True}),
    "p3d-63": Entry(title="P3D-63", config="p3d.yaml", frames=16, size=160, peer="p3d63"),
    "p3d-199": Entry(title="P3D-199", config="p3d.yaml", frames=16, size=160, keys={"num_layers": 199}, peer="p3d199"),
    "r2plus1d-18": Entry(
        title="R(2+1)D-18",
        config="r2plus1d.yaml",
        frames=16,
        size=112,
        gflops=40.519,
        gflops_source=_TORCHVISION,
        top1=67.5,
        protocol=f"{_FIVE_CLIPS}; {_TORCHVISION}",
        peer="r2plus1d_18",
    ),
    "r2plus1d-34": Entry(
        title="R(2+1)D-34",
        config="r2plus1d.yaml",
        frames=32,
        size=112,
        keys={"num_layers": 34},
        top1=72.4,
        protocol="clips of 32 frames, all of a video, centre crop; VMZ's tutorials/models.md",
        peer="r2plus1d_34",
    ),
    "r3d-18": Entry(
        title="R3D-18",
        config="r2plus1d.yaml",
        frames=16,
        size=112,
        keys={"form": "r3d"},
        gflops=40.697,
        gflops_source=_TORCHVISION,
        top1=63.2,
        protocol=f"{_FIVE_CLIPS}; {_TORCHVISION}",
        peer="r3d_18",
    ),
    "mc3-18": Entry(
        title="MC3-18",
        config="r2plus1d.yaml",
        frames=16,
        size=112,
        keys={"form": "mc3"},
        gflops=43.343,
        gflops_source=_TORCHVISION,
        top1=64.0,
        protocol=f"{_FIVE_CLIPS}; {_TORCHVISION}",
        peer="mc3_18",
    ),
}


def torch_network(name: str, form: str) -> torch.nn.Module:
    """PyTorch's network of a `peer`, uint8 clips (n, T, 3, H, W) -> logits, with fresh weights.

    Args:
        form: of TSM's shift (torch_tsm.py); others have none.
    """
    import torch

    if name in ("tsm", "tsn"):
        from torch_tsm import Recognizer

        return Recognizer(False, 50, 64, CLASSES, "bi" if name == "tsm" else None, 8, form)
    from torch_clips import network

    class Normalised(torch.nn.Module):
        """Normalises, which our programs do, too."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network(name, CLASSES)

        def forward(self, clips: torch.Tensor) -> torch.Tensor:
            x = clips.transpose(1, 2).float() / 127.5 - 1  # (n, T, 3, H, W) -> (n, 3, T, H, W)
            return self.network(x)

    return Normalised()
