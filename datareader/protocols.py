"""What a config makes of a test protocol: which views of each video are taken, in the order of the public code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from video_zoo.configs.protocols import PROTOCOLS, Protocol
from video_zoo.configs.schema import Config, TestSection
from video_zoo.datareader.crops import CROPS
from video_zoo.datareader.frame_rules import SAMPLINGS, STRIDED, ClipShape, Sampling
from video_zoo.datareader.resizes import RESIZES, V15
from video_zoo.utils.errors import InputError

_PARTS = ("sampling", "clips", "seg_num", "resize", "short_size", "crops", "target_size", "average")  # keys of TEST


@dataclass(frozen=True)
class TestProtocol:
    """A protocol and the keys that replace parts of it, together.

    Args:
        name: of the protocol.
        replaced: the keys that say something else than it does, as "sampling, crops"; None: it is as its name says.
        sampling, resize, crops: names of rules, in small letters.
        clips, views: of a video.
        average: "logits" or "probabilities".
        short_size, target_size: px.
        frames: of a clip.
        stride: of a sampling that has one.
        clip_by_clip: see `configs.protocols.Protocol`.
    """

    name: str
    replaced: str | None
    sampling: str
    clips: int
    resize: str
    crops: str
    average: str
    short_size: int
    target_size: int
    frames: int
    stride: int
    views: int
    clip_by_clip: bool

    def order(self) -> list[tuple[int, int]]:
        """(number of the clip, number of the crop) of each view."""
        clips, crops = range(self.clips), range(self.views // self.clips)
        if self.clip_by_clip:
            return [(clip, crop) for clip in clips for crop in crops]
        return [(clip, crop) for crop in crops for clip in clips]

    @property
    def description(self) -> str:
        """One line for people."""
        return (
            f"{self.sampling}, {self.resize} to {self.short_size} px, {self.crops} of {self.target_size};"
            f" {self.views} view{'s' * (self.views > 1)} a video, mean of {self.average}"
            + (f" (its {self.replaced} replaced)" if self.replaced else "")
        )

    def facts(self) -> dict[str, Any]:
        """What a report says of it."""
        return {name: value for name, value in vars(self).items() if name != "clip_by_clip"}


def protocol_of(settings: Config, num_frames: int | None = None) -> TestProtocol:
    """The protocol of test.py that a config describes.

    Args:
        num_frames: of the only video that it is for; without, all videos must have as many views.

    Raises InputError: a name is unknown, a rule is not to be used, or it does not fit the network, the classes or the
    sizes.
    """
    section, model = settings.TEST, settings.MODEL
    record = PROTOCOLS[section.protocol]
    names = [(getattr(section, key) or getattr(record, key)).lower() for key in ("sampling", "resize", "crops")]
    sampling, resize, crops = names
    clips = section.clips or 1
    stride = section.stride or model.frame_stride
    if sampling != V15:
        clips = _check_sampling(sampling, SAMPLINGS.get(sampling), record.clips or 1, settings)
        if not clips and num_frames is None:
            raise InputError(
                f"the sampling {sampling} takes more clips of a longer video, and all videos of a test have as many"
                " views: take pytorchvideo_constant_fps30"
            )
        if not clips:
            shape = ClipShape(settings.seg_num("test"), model.seglen, stride)
            clips = len(SAMPLINGS.get(sampling).rule(num_frames, shape))
    elif clips != 1:
        raise InputError(f"TEST.clips = {clips}, and the sampling v15 takes one clip of a video")
    if resize != V15:
        RESIZES.get(resize)
    count = _check_crops(crops, settings)
    sizes = (section.short_size, section.target_size)
    frames, average = settings.clip_shape("test")[0], section.average or record.average
    parts = (sampling, clips, resize, crops, average, *sizes, frames, stride)
    return TestProtocol(record.name, _replaced(record, section), *parts, clips * count, record.clip_by_clip)


def notes_of(protocol: TestProtocol) -> list[str]:
    """What a user has to know of its rules, as where the public code draws at random."""
    rules = [SAMPLINGS.get(protocol.sampling)] if protocol.sampling != V15 else []
    return [rule.note for rule in (*rules, CROPS.get(protocol.crops)) if rule.note]


def _replaced(record: Protocol, section: TestSection) -> str | None:
    """The keys that say something else than the record of the protocol, which is silent where it has None."""

    def differs(key: str) -> bool:
        own, said = getattr(record, key), getattr(section, key)
        return None not in (own, said) and str(own).lower() != str(said).lower()

    return ", ".join(filter(differs, _PARTS)) or None


def _check_sampling(name: str, sampling: Sampling, usual: int, settings: Config) -> int:
    """How many clips it takes, where neither TEST.clips nor the sampling says it the `usual` number; 0: the video's
    length says it.

    Raises InputError: it is not to be used, or does not fit the network.
    """
    asked = settings.TEST.clips
    model, seg_num, said = settings.MODEL, settings.seg_num("test"), f"the sampling {name}"
    if sampling.refused:
        raise InputError(f"{said} is not to be used: {sampling.refused}")
    if sampling.kind == STRIDED:
        if seg_num > 1 and model.seglen > 1:
            raise InputError(
                f"{said} takes frames that follow each other, and {model.name} sees {seg_num} segments of"
                f" {model.seglen} frames: take a sampling of segments, such as v15"
            )
        if settings.TEST.stride is None and model.frame_stride == 1 and model.seglen == 1:
            raise InputError(
                f"{said} is for networks that see frames which follow each other, and {model.name} sees one of each of"
                f" {seg_num} segments: take a sampling of segments, as tsm_test_dense10, or say how far apart the"
                f" {seg_num} frames of a clip are with TEST.stride"
            )
    elif model.seglen not in sampling.seglens:
        allowed = " or ".join(map(str, sampling.seglens))
        raise InputError(
            f"{said} takes {allowed} frame{'s' * (allowed != '1')} of a segment, and MODEL.seglen is {model.seglen}"
        )
    elif model.seglen > 1 and (settings.TEST.stride or model.frame_stride) > 1:
        raise InputError(
            f"{said} takes consecutive frames of a segment: it needs MODEL.frame_stride = 1, and no TEST.stride above"
        )
    clips = (asked or usual) if sampling.clips is None else sampling.clips
    if asked not in (None, clips):
        raise InputError(f"TEST.clips = {asked}, and {said} takes {clips or 'as many as fit into the video'}")
    if 0 < clips < sampling.fewest:
        raise InputError(f"TEST.clips = {clips}, and {said} takes at least {sampling.fewest}")
    return clips


def _check_crops(name: str, settings: Config) -> int:
    """How many crops there are of a frame. Raises InputError: they do not fit the scaled frame, or the classes."""
    section, crops = settings.TEST, CROPS.get(name)
    short_size, size = section.short_size, section.target_size
    if crops.mirrors and (settings.TRAIN.flip_labels or not settings.TRAIN.flip):
        key = "TRAIN.flip_labels" if settings.TRAIN.flip_labels else "TRAIN.flip = False"
        raise InputError(
            f"the crops {name} mirror half of the views, and {key} says that classes tell left from right: take crops"
            " without mirrors, as tsm_fullres3"
        )
    if crops.whole_side and short_size != size:
        raise InputError(
            f"the crops {name} take the whole shorter side, and TEST.short_size = {short_size} is not"
            f" TEST.target_size = {size}: set both to the same"
        )
    return crops.count
