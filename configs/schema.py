"""Every key of a config file, its default and what it means.

The names and defaults of v1.5's keys are v1.5's; the file's sections are the fields of `Config`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Optional, Union

from video_zoo.configs.protocols import LOGITS, PROBABILITIES, PROTOCOLS, V15
from video_zoo.utils.config import key

_MANY = 1_000_000  # of epochs, clips or frames: beyond any that can be meant


@dataclass(frozen=True)
class ModelSection:
    """The network, and how a clip is made for it: the keys that all models share. Each model's section (models/) is a
    subclass with its name and the keys that its network has alone."""

    IGNORED: ClassVar[dict[str, str]] = {"topk": "top-1 and top-5 are always reported; infer.py has --infer_topk"}

    name: Optional[str] = key(None, "the model the file is for; unset: that of --model_name")
    format: str = key(
        "mp4",
        "what list lines name: mp4: video files; pkl: v1.5's pickles of jpegs; frames: folders of images",
        choices=("mp4", "pkl", "frames"),
    )
    frame_template: str = key("img_%05d.jpg", "format frames: the images' names, with one %d for the number")
    first_frame: int = key(1, "format frames: the number of a folder's first image", low=0, high=10**9)
    num_classes: int = key(400, "classes", low=1, high=_MANY, fixed=True)
    seg_num: int = key(8, "segments a video is cut into, one sampled place each", low=1, high=10_000)
    seglen: int = key(1, "frames of a segment, frame_stride apart", low=1, high=10_000, fixed=True)
    frame_stride: int = key(
        1, "from one frame of a segment to the next, in frames of the video; 1: consecutive", low=1, high=_MANY
    )
    image_mean: tuple[float, float, float] = key(
        (0.485, 0.456, 0.406), "mean of R, G, B, on the scale 0 to 1", low=-10, high=10, fixed=True
    )
    image_std: tuple[float, float, float] = key(
        (0.229, 0.224, 0.225), "standard deviation of R, G, B, likewise", low=1e-3, high=10, fixed=True
    )
    class_names: Union[str, tuple[str, ...], None] = key(
        None, "a file of `NAME INDEX` lines, or the list of the names; unset: Kinetics-400's names for 400 classes"
    )


@dataclass(frozen=True)
class ReaderSection:
    """A list of videos, and how their frames are read: the keys that all four modes share."""

    IGNORED: ClassVar[dict[str, str]] = {}

    filelist: Optional[str] = key(
        None, "the list, a line a video: `path label` (mp4), `path` (pkl), `folder num_frames label` (frames)"
    )
    short_size: int = key(256, "pixels of the shorter side after scaling", low=1, high=16384)
    target_size: int = key(224, "pixels of the square crop", low=1, high=16384)
    keep_aspect: bool = key(
        False, "False: v1.5's squeeze to 4:3, which the released weights expect; True: keep the shape"
    )
    batch_size: int = key(16, "clips a step", low=1, high=_MANY)
    num_reader_threads: int = key(
        12,
        "reader processes (at most one a core); 0: read in the main process, without decode_timeout_s",
        low=0,
        high=_MANY,
    )
    buf_size: int = key(1024, "clips read ahead, at most; two batches are enough and never exceeded", low=1, high=10**9)
    decoder: str = key(
        "auto",
        "auto, pyav: only the frames that are needed, to the same bits; opencv: all frames, passing over damage, as in"
        " v1.5",
        choices=("auto", "pyav", "opencv"),
    )
    decode_timeout_s: float = key(
        60, "a video that takes longer is given up, and its reader process replaced; 0: never", low=0, high=86400
    )
    on_damage: str = key(
        "use",
        "a truncated or damaged video. use: the frames before the damage, if there are seg_num; skip: none of it. It is"
        " named either way",
        choices=("use", "skip"),
    )
    fast_crop: bool = key(
        False, "scale only what the crop needs; some pixels then differ from v1.5's by a level (benchmark/RESULTS.md)"
    )
    seg_num: Optional[int] = key(None, "overrides MODEL.seg_num in this mode", low=1, high=10_000)
    max_bad_videos: float = key(
        0.01,
        "the share of the list that may be unreadable before the run stops; of train.py --data two videos at least, if"
        " it is not 0",
        low=0,
        high=1,
    )


@dataclass(frozen=True)
class TrainSection(ReaderSection):
    """Training: Momentum SGD."""

    IGNORED: ClassVar[dict[str, str]] = {"num_gpus": "CUDA_VISIBLE_DEVICES says which GPUs are used"}

    batch_size: int = key(128, "clips a step, over all GPUs", low=1, high=_MANY)
    epoch: int = key(65, "passes over the list", low=1, high=_MANY)
    pretrain: Optional[str] = key(
        None, "the weights to start from, as --pretrain says them: imagenet, kinetics, none or a path; unset: imagenet"
    )
    learning_rate: float = key(0.01, "at the start", low=0, high=1e38)
    base_batch_size: Optional[int] = key(
        None,
        "the batch that learning_rate is meant for: it is scaled by batch_size over this; unset: taken as it is",
        low=1,
        high=_MANY,
    )
    lr_schedule: str = key(
        "piecewise",
        "piecewise: v1.5's, falls at decay_epochs; cosine: falls all the time, to 0 at the end",
        choices=("piecewise", "cosine"),
    )
    warmup_epochs: float = key(0, "at the beginning, in which the learning rate rises evenly", low=0, high=_MANY)
    learning_rate_decay: float = key(0.1, "factor at each of decay_epochs", low=0, high=10)
    decay_epochs: Optional[tuple[float, ...]] = key(
        None, "[]: never; unset: after 1/3 and 2/3 of them", low=0, high=_MANY
    )
    momentum: float = key(0.9, "of the optimizer", low=0, high=1)
    l2_weight_decay: float = key(1e-4, "on all weights and BatchNorm parameters", low=0, high=10)
    batch_norm_decay: Optional[float] = key(None, "on BatchNorm parameters instead; unset: the same", low=0, high=10)
    clip_grad_norm: Optional[float] = key(
        None, "the L2 norm of all gradients together is at most this; unset: not clipped", low=1e-6, high=10**9
    )
    freeze_batch_norm: bool = key(
        False, "BatchNorm stays as the weights it starts from have it; without weights, it is trained"
    )
    sync_batch_norm: bool = key(False, "BatchNorm over the clips of all GPUs, not of each")
    amp: str = key(
        "off",
        "mixed precision on a GPU. fp16: with dynamic loss scaling; bf16: on GPUs from 2020 on",
        choices=("off", "fp16", "bf16"),
    )
    accumulate_steps: int = key(
        1,
        "a batch is computed in so many parts, one after the other, where the GPU's memory is short",
        low=1,
        high=_MANY,
    )
    channels_last: bool = key(False, "the network computes in NHWC, which mixed precision on a GPU prefers")
    keep_checkpoints: int = key(0, "epochs whose checkpoints stay, beside the best; 0: all", low=0, high=_MANY)
    valid_share: float = key(0.2, "with --data: the share of each class's videos to validate with", low=0, high=0.9)
    total_videos: Optional[int] = key(
        None, "videos an epoch, for the decay's step count; unset: the list's length", low=1, high=10**12
    )
    segment_stride: Optional[int] = key(
        None,
        "frames of the video from a segment to the next: a clip is then a stretch of the video, at the frame rate of a"
        " stream; unset, or of a shorter video: the segments cover all of it",
        low=1,
        high=_MANY,
    )
    flip: bool = key(True, "mirror half of the clips; False where left and right are classes, or flip_labels")
    flip_labels: Optional[tuple[tuple[int, int], ...]] = key(
        None, "pairs of classes, [[86, 87], [93, 94]]: a mirrored clip of one is of the other", low=0, high=_MANY
    )
    use_gpu: Optional[bool] = key(None, "a wish: the GPU is used if there is one; the flag --use_gpu insists")
    enable_ce: bool = key(False, "fixed seeds, and `kpis` lines at the end")
    seed: int = key(0, "of the weights, the order and the augmentation", low=0, high=2**32 - 1)


@dataclass(frozen=True)
class ValidSection(ReaderSection):
    """Validation while training."""

    batch_size: int = key(128, "clips a step", low=1, high=_MANY)
    segment_stride: Optional[int] = key(None, "as TRAIN has it, in the middle of the video", low=1, high=_MANY)
    best_metric: str = key("top1", "the value, by its name in curves.jsonl, that decides which checkpoint is the best")


@dataclass(frozen=True)
class TestSection(ReaderSection):
    """test.py. What a protocol says, a key beside it or on the command line replaces; without a `protocol` beside them,
    or later, short_size, target_size and seg_num are the protocol's."""

    batch_size: int = key(
        16, "clips a step, of each process; a video's views are read together, however many", low=1, high=_MANY
    )
    protocol: str = key(
        V15.name,
        "which views of a video are averaged, by the name of configs/protocols.py; test.py --list_protocols",
        choices=tuple(PROTOCOLS),
        presets={name: protocol.sizes for name, protocol in PROTOCOLS.items()},
    )
    sampling: Optional[str] = key(
        None, "the frames of a video, by the name of a rule in datareader/frame_rules.py; unset: the protocol's"
    )
    clips: Optional[int] = key(
        None, "of a video, where the sampling leaves it open; unset: the protocol's, else 1", low=1, high=1000
    )
    stride: Optional[int] = key(
        None, "from a frame of a 3-D clip to the next; unset: MODEL.frame_stride", low=1, high=_MANY
    )
    resize: Optional[str] = key(
        None,
        "the size that frames are scaled to, by a name of datareader/resizes.py; v15 heeds keep_aspect; unset: the"
        " protocol's",
    )
    crops: Optional[str] = key(
        None, "out of each scaled frame, by the name of a rule in datareader/crops.py; unset: the protocol's"
    )
    average: Optional[str] = key(
        None,
        "over a video's views: of their logits, or of their probabilities; unset: the protocol's",
        choices=(LOGITS, PROBABILITIES),
    )


@dataclass(frozen=True)
class InferSection(ReaderSection):
    """infer.py."""

    IGNORED: ClassVar[dict[str, str]] = {
        "video_path": "give a list with --filelist",
        "kinetics_labels": "MODEL.class_names names the file of class names",
    }

    batch_size: int = key(1, "clips a step", low=1, high=_MANY)


@dataclass(frozen=True)
class OnlineSection:
    """infer.py --online: which frames of a stream the network is given, and how its answers become events. The defaults
    are the best on streams of moving shapes (benchmark/RESULTS.md)."""

    IGNORED: ClassVar[dict[str, str]] = {}

    fps: float = key(
        8, "frames a second that the network is given: as many as it was trained with", low=0.01, high=1000
    )
    smoothing_s: float = key(
        0.3, "time constant of the exponential smoothing of the probabilities; 0: none", low=0, high=3600
    )
    start_threshold: float = key(
        0.7, "an event starts when the smoothed probability of its class rises over this", low=0, high=1
    )
    end_threshold: float = key(0.3, "and ends when it falls under this, or another class starts", low=0, high=1)
    min_event_s: float = key(0.2, "shorter events are left out", low=0, high=3600)
    background: Optional[str] = key(None, "the class, by its name or number, that is no event; unset: none is")
    stream_timeout_s: float = key(
        10, "a stream that gives no frame for so long, or does not open, is opened again", low=0.1, high=3600
    )


@dataclass(frozen=True)
class Config:
    """A whole config file."""

    MODEL: ModelSection = field(default_factory=ModelSection)
    TRAIN: TrainSection = field(default_factory=TrainSection)
    VALID: ValidSection = field(default_factory=ValidSection)
    TEST: TestSection = field(default_factory=TestSection)
    INFER: InferSection = field(default_factory=InferSection)
    ONLINE: OnlineSection = field(default_factory=OnlineSection)

    def reader(self, mode: str) -> ReaderSection:
        """The section of a mode: "train", "valid", "test" or "infer"."""
        return getattr(self, mode.upper())

    def seg_num(self, mode: str) -> int:
        """Segments a clip in that mode."""
        return self.reader(mode).seg_num or self.MODEL.seg_num

    def clip_shape(self, mode: str) -> tuple[int, int, int, int]:
        """Of a clip in that mode: (T, 3, target_size, target_size), with T = seg_num * seglen frames."""
        size = self.reader(mode).target_size
        return (self.seg_num(mode) * self.MODEL.seglen, 3, size, size)
