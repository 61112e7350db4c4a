"""Draws first_prediction.webp, the picture of the README: clips of moving shapes, and what a network says of them.

    python dataset/moving_shapes/make_moving_shapes.py
    python train.py --config=configs/tsm_moving_shapes.yaml --pretrain=none --set MODEL.shift=uni --save_dir=uni
    python docs/first_prediction.py uni/TSM_best

The network is given one frame after the other; the bars are the probabilities after the frames so far. It has not seen
the clips in training.
"""

from __future__ import annotations

from video_zoo.utils import startup

if __name__ == "__main__":
    startup.begin()
from video_zoo.utils.paddle_env import start_paddle  # isort: split

import argparse
from pathlib import Path

import cv2
import numpy as np
import paddle
from PIL import Image, ImageDraw, ImageFont

from video_zoo.configs.schema import Config
from video_zoo.datareader.sampling import segment_indices
from video_zoo.dataset.moving_shapes.make_moving_shapes import DIRECTIONS, draw_clip
from video_zoo.models import MODELS, load_trained
from video_zoo.utils import cli, config
from video_zoo.utils.files import atomic_path

PLACE = Path(__file__).with_name("first_prediction.webp")
SIZE, FRAMES, STEP = 64, 24, 3  # of a clip of moving shapes: px, frames, px a frame
TILE, GAP, MARGIN, BARS = 78, 6, 16, 210  # px; BARS: the width of the bars with their names
FRAME_MS, LAST_MS = 260, 1500
GROUND, TEXT, SOFT, TRACK, FIRST, OTHER = "#ffffff", "#1a202c", "#5a6675", "#e6ebf0", "#0b6e99", "#9db8c7"


def predict(network: paddle.nn.Layer, frames: np.ndarray, size: int) -> np.ndarray:
    """Probabilities after each frame, float32 (T, classes), of frames uint8 (T, H, W, 3) whose middle is taken."""
    edge = (frames.shape[1] - size) // 2
    pixels = frames[:, edge : edge + size, edge : edge + size].transpose(0, 3, 1, 2)  # (T, H, W, 3) -> (T, 3, H, W)
    state, logits = network.initial_state(1, size, size), []
    for frame in pixels:
        frame_logits, state = network.step(paddle.to_tensor(frame[None]), state)
        logits.append(frame_logits.numpy()[0])
    means = np.cumsum(logits, axis=0) / np.arange(1, len(logits) + 1)[:, None]  # of the frames so far
    powers = np.exp(means - means.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def draw(frames: np.ndarray, shown: int, probabilities: np.ndarray, names: list[str]) -> Image.Image:
    """The first `shown` frames of a clip, and the bars beside them."""
    strip = len(frames) * (TILE + GAP)
    image = Image.new("RGB", (MARGIN * 2 + strip + GAP * 2 + BARS, MARGIN * 2 + TILE), GROUND)
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(13)
    for number, frame in enumerate(frames):
        place = (MARGIN + number * (TILE + GAP), MARGIN)
        if number < shown:
            image.paste(Image.fromarray(cv2.resize(frame, (TILE, TILE), interpolation=cv2.INTER_AREA)), place)
        else:
            pen.rectangle([place, (place[0] + TILE - 1, place[1] + TILE - 1)], outline=TRACK)
    left, best = MARGIN + strip + GAP * 2, int(probabilities.argmax())
    for number, (name, probability) in enumerate(zip(names, probabilities)):
        top = MARGIN + number * TILE / len(names)
        colours = (TEXT, FIRST) if number == best else (SOFT, OTHER)
        pen.text((left, top + 1), name, colours[0], font)
        pen.rounded_rectangle([left + 48, top + 5, left + 164, top + 14], 4, TRACK)
        if probability > 0.03:
            pen.rounded_rectangle([left + 48, top + 5, left + 48 + 116 * probability, top + 14], 4, colours[1])
        pen.text((left + BARS, top + 1), f"{probability:.0%}", colours[0], font, anchor="ra")
    return image


def main() -> None:
    parser = cli.Parser(description="Draws the picture of the README.")
    parser.add_argument("weights", metavar="CHECKPOINT", help="of a TSM with MODEL.shift=uni, trained on moving shapes")
    args: argparse.Namespace = parser.parse_args()
    start_paddle(use_gpu=False)
    file = str(cli.CONFIGS / "tsm_moving_shapes.yaml")
    settings = config.load(file, Config, {"MODEL": {"shift": "uni"}}, cli.model_sections(MODELS))
    network, _ = load_trained(settings, "infer", args.weights)
    network.eval()
    names, pictures, times = list(DIRECTIONS), [], []
    with paddle.no_grad():
        for seed, name in enumerate(("right", "down", "left", "up")):
            clip = draw_clip(name, SIZE, FRAMES, STEP, np.random.default_rng([7, seed]))
            frames = clip[segment_indices(FRAMES, settings.MODEL.seg_num)]
            probabilities = predict(network, frames, settings.INFER.target_size)
            print(f"{name}: {names[int(probabilities[-1].argmax())]}, {probabilities[-1].max():.3f}")
            pictures += [draw(frames, shown, probabilities[shown - 1], names) for shown in range(1, len(frames) + 1)]
            times += [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    with atomic_path(PLACE) as target:
        first, *others = pictures
        first.save(target, "WEBP", save_all=True, append_images=others, duration=times, quality=80, method=6)
    print(f"{PLACE.name}: {PLACE.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    cli.run(main)
