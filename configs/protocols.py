"""The test protocols that have a name: what a published score was measured with.

A protocol says which frames of a video are taken (`sampling`, by a rule of datareader/frame_rules.py), how they are
scaled (`resize`, datareader/resizes.py) and cropped (`crops`, datareader/crops.py), and what is averaged over views.
Each of these is a key of section TEST, too, which replaces the protocol's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional

LOGITS, PROBABILITIES = "logits", "probabilities"


@dataclass(frozen=True)
class Protocol:
    """A record.

    Args:
        name: as TEST.protocol takes it.
        called: where it comes from, and what it is called there.
        sampling, resize, crops: names of rules.
        short_size, target_size: px of the scaled frame's shorter side and of the crop; None: the config's.
        average: what is averaged over views: LOGITS, or PROBABILITIES (the softmax of each view).
        clips: of a sampling that takes as many as it is asked for.
        seg_num: segments of a clip; None: the config's.
        clip_by_clip: the order of views: all crops of a clip, then the next clip; else all clips of a crop.
        scores: published top-1 accuracies in percent, and of what.
    """

    name: str
    called: str
    sampling: str
    resize: str
    crops: str
    short_size: Optional[int]
    target_size: Optional[int]
    average: str = LOGITS
    clips: Optional[int] = None
    seg_num: Optional[int] = None
    clip_by_clip: bool = False
    scores: str = ""

    @property
    def sizes(self) -> dict[str, Any]:
        """The keys of section TEST that it gives values of its own, but where they are set beside its name or later."""
        own = {"short_size": self.short_size, "target_size": self.target_size, "seg_num": self.seg_num}
        return {key: value for key, value in own.items() if value is not None}


V15 = Protocol(
    "v15",
    "PaddleVideo v1.5: one clip, centre crop",
    *("v15", "v15", "v15", None, None),
    scores="TSM-50, 8 frames 70; TSN-50, 7 frames 67 (Kinetics-400)",
)
_PROTOCOLS = (
    V15,
    Protocol(
        "uniform1",
        "MIT's temporal-shift-module: 1 clip, centre crop",
        *("tsm_test", "tsm_groupscale", "tsm_center", 256, 224),
        scores="TSM R50, 8 and 16 frames 71.2, 72.6 (Kinetics-400), 45.6, 47.2 (Something-Something V1)",
    ),
    Protocol(
        "uniform10",
        "MIT's temporal-shift-module: --test_crops=10",
        *("tsm_test", "tsm_groupscale", "tsm_over10", 256, 224),
        scores="TSM R50, 8 and 16 frames 72.8, 73.7; TSN 69.9 (Kinetics-400)",
    ),
    Protocol(
        "dense10x3",
        "MIT's temporal-shift-module: --dense_sample --full_res --test_crops=3; Non-local networks' 30 views",
        *("tsm_test_dense10", "tsm_groupscale", "tsm_fullres3", 256, 256),
        scores="TSM R50, 8 frames 74.1, with non-local blocks 75.6; TSN 70.6; TSM MobileNetV2 69.5 (Kinetics-400)",
    ),
    Protocol(
        "twice3",
        "MIT's temporal-shift-module: --twice_sample --full_res --test_crops=3",
        *("tsm_test_twice", "tsm_groupscale", "tsm_fullres3", 256, 256),
        scores="TSM R50, 8 and 16 frames 47.2, 48.4 (Something-Something V1), 61.2, 63.1 (V2)",
    ),
    Protocol(
        "paddle2_tsm",
        "PaddleVideo 2.x TSM: 1 clip, centre crop",
        *("paddle_select_left", "paddle_scale_keep", "paddle_center", 256, 224),
        scores="TSM R50 71.06 (Kinetics-400), 94.42 (UCF101)",
    ),
    Protocol(
        "paddle2_uniform",
        "PaddleVideo 2.x PP-TSM: 1 clip, frames squeezed to 4:3, centre crop",
        *("paddle_sampler_video", "paddle_scale_fixed43", "paddle_center", 256, 224),
        scores="PP-TSM R50 74.54, distilled 75.11 (Kinetics-400)",
    ),
    Protocol(
        "paddle2_dense",
        "PaddleVideo 2.x PP-TSM dense: 10 clips, 3 crops of 224",
        *("tsm_test_dense10", "paddle_scale_fixed43", "paddle_fullres3", 256, 224),
        scores="PP-TSM R50 75.69, distilled 76.16 (Kinetics-400)",
    ),
    Protocol(
        "paddle2_tsn10",
        "PaddleVideo 2.x TSN, PP-TSN: 25 frames, ten crops",
        *("paddle_select_left", "paddle_scale_keep", "paddle_ten", 256, 224),
        seg_num=25,
        scores="TSN, trained with 3 and 8 frames 69.81, 71.70; PP-TSN 73.68 (Kinetics-400)",
    ),
    Protocol(
        "paddle2_slowfast",
        "PaddleVideo 2.x SlowFast: 10 clips, 3 crops",
        *("paddle_slowfast_fps30", "paddle_jitter", "paddle_multicrop3", 256, 256, PROBABILITIES, 10),
        clip_by_clip=True,
        scores="SlowFast 4x16 74.35, 8x8 75.84 (Kinetics-400)",
    ),
    Protocol(
        "mmaction2_uniform10",
        "MMAction2 TSM: 1 clip, ten crops (TenCrop)",
        *("mmaction2_2d", "mmaction2_resize", "mmaction2_ten", 256, 224, PROBABILITIES),
        scores="TSM R50, 8 and 16 frames 73.18, 75.12 (Kinetics-400)",
    ),
    Protocol(
        "mmaction2_twice3",
        "MMAction2 TSM on Something-Something: twice_sample, ThreeCrop",
        *("mmaction2_2d_twice", "mmaction2_resize", "mmaction2_three", 256, 256, PROBABILITIES),
        scores="TSM R50, 8 and 16 frames 62.72, 64.16 (Something-Something V2)",
    ),
    Protocol(
        "mmaction2_dense100",
        "MMAction2 TSM dense: 10 clips, ten crops (TenCrop)",
        *("tsm_test_dense10", "mmaction2_resize", "mmaction2_ten", 256, 224, PROBABILITIES),
        scores="TSM R50, 8 frames 73.38 (Kinetics-400)",
    ),
    Protocol(
        "mmaction2_tsn10",
        "MMAction2 TSN: 25 frames, ten crops (TenCrop)",
        *("mmaction2_2d", "mmaction2_resize", "mmaction2_ten", 256, 224),
        seg_num=25,
        scores="TSN R50, trained with 8 frames 74.12 (Kinetics-400), 35.51 (Something-Something V2)",
    ),
    Protocol(
        "mmaction2_10x3",
        "MMAction2 3-D networks: num_clips=10, ThreeCrop",
        *("mmaction2_3d", "mmaction2_resize", "mmaction2_three", 256, 256, PROBABILITIES, 10),
        scores="SlowOnly R50 8x8 75.15, SlowFast R50 76.80 (Kinetics-400)",
    ),
    Protocol(
        "mmaction2_5x3",
        "MMAction2 VideoMAE: num_clips=5, ThreeCrop",
        *("mmaction2_3d", "mmaction2_resize", "mmaction2_three", 224, 224, PROBABILITIES, 5),
        scores="VideoMAE-B 16x4 81.3 (Kinetics-400)",
    ),
    Protocol(
        "mmaction2_4x3",
        "MMAction2 Video Swin: num_clips=4, ThreeCrop",
        *("mmaction2_3d", "mmaction2_resize", "mmaction2_three", 224, 224, PROBABILITIES, 4),
        scores="Swin-T 32x2 78.90 (Kinetics-400)",
    ),
    Protocol(
        "slowfast10x3",
        "SlowFast (PySlowFast): NUM_ENSEMBLE_VIEWS 10, NUM_SPATIAL_CROPS 3",
        *("slowfast_fps30", "slowfast_short_side", "slowfast_uniform3", 256, 256, PROBABILITIES, 10),
        clip_by_clip=True,
        scores="Slow R50 8x8 74.8, SlowFast R50 8x8 77.0, X3D-M 76.2 (Kinetics-400)",
    ),
    Protocol(
        "slowfast5x1",
        "SlowFast's MViT: NUM_ENSEMBLE_VIEWS 5, NUM_SPATIAL_CROPS 1, USE_OFFSET_SAMPLING",
        *("slowfast_offset_fps30", "slowfast_short_side", "slowfast_center1", 256, 224, PROBABILITIES, 5),
        clip_by_clip=True,
        scores="MViTv1-B 16x4 78.4, MViTv2-S 81.0 (Kinetics-400)",
    ),
    Protocol(
        "pytorchvideo10x3",
        "PyTorchVideo: ConstantClipsPerVideoSampler(10), 3 uniform crops",
        *("pytorchvideo_constant_fps30", "pytorchvideo_short_side", "pytorchvideo_uniform3", 256, 256),
        *(PROBABILITIES, 10),
        clip_by_clip=True,
        scores="Slow R50 8x8 74.58, SlowFast R50 8x8 76.94 (Kinetics-400)",
    ),
    Protocol(
        "videomae5x3",
        "VideoMAE: test_num_segment 5, test_num_crop 3",
        *("videomae_kinetics", "videomae_resize", "videomae_3crop", 224, 224, PROBABILITIES, 5),
        clip_by_clip=True,
        scores="ViT-B 81.5 (Kinetics-400), 91.3 (UCF101)",
    ),
    Protocol(
        "videomae_ssv2_2x3",
        "VideoMAE on Something-Something V2: test_num_segment 2, test_num_crop 3",
        *("videomae_ssv2_2clip", "videomae_resize", "videomae_3crop", 224, 224, PROBABILITIES),
        clip_by_clip=True,
        scores="ViT-B 70.8 (Something-Something V2)",
    ),
)
PROTOCOLS = {protocol.name: protocol for protocol in _PROTOCOLS}
