"""The classes of a prediction, drawn for video: names, percentages and bars on a translucent box."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from video_zoo.datareader.video_writer import planes_of
from video_zoo.engine.results import Prediction

CLASSES = 3
FONTS = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf", "Helvetica.ttc")
EAST_ASIAN_FONTS = (
    *("NotoSansCJK-Regular.ttc", "NotoSansCJKsc-Regular.otf", "NotoSansSC-Regular.otf", "SourceHanSansCN-Regular.otf"),
    *("wqy-microhei.ttc", "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "DroidSansFallback.ttf", "PingFang.ttc"),
    *("Hiragino Sans GB.ttc", "msyh.ttc", "simhei.ttf", "Arial Unicode.ttf"),
)
_BOX, _TRACK = (12, 16, 20, 170), (66, 74, 84, 200)
_FIRST, _OTHERS = (255, 255, 255, 255), (205, 211, 218, 255)  # of the text
_BARS = (77, 179, 221, 255), (150, 170, 182, 255)


class Overlay(NamedTuple):
    """A drawing for a place in yuv420p pictures: for each plane, the rows and columns, what is kept of the picture
    there (0 to 256), and what is added to that, times 256."""

    parts: list[tuple[slice, slice, np.ndarray, np.ndarray]]

    @staticmethod
    def of(prediction: Prediction, names: Sequence[str], height: int, width: int) -> Overlay:
        """The most probable classes of a prediction, for pictures of this size."""
        image = draw_classes(prediction, names, height, width)
        columns, rows = image.size
        top, left = (min(round(height / 30), side) // 2 * 2 for side in (height - rows, width - columns))
        rgba = np.asarray(image)
        colours = cv2.cvtColor(np.ascontiguousarray(rgba[..., :3]), cv2.COLOR_RGB2YUV_I420)
        alpha = rgba[..., 3]
        half = cv2.resize(alpha, (columns // 2, rows // 2), interpolation=cv2.INTER_AREA)
        parts = []
        for plane, opacity, step in zip(planes_of(colours), (alpha, half, half), (1, 2, 2)):
            weight = np.round(opacity.astype(np.float32) * (256 / 255)).astype(np.uint16)
            place = (slice(start // step, (start + size) // step) for start, size in ((top, rows), (left, columns)))
            parts.append((*place, 256 - weight, plane * weight))
        return Overlay(parts)

    def blend(self, pixels: np.ndarray) -> None:
        """Draws into a yuv420p picture, uint8 (3/2 H, W)."""
        for plane, (rows, columns, kept, added) in zip(planes_of(pixels), self.parts):
            plane[rows, columns] = (plane[rows, columns] * kept + added) >> 8


def draw_classes(prediction: Prediction, names: Sequence[str], height: int, width: int) -> Image.Image:
    """A translucent box with names, percentages and bars, for pictures of this size: RGBA, its sides even."""
    size = int(min(max(min(height / 22, width / 16), 9), 64))
    pad, gap, bar = size * 2 // 3, max(size // 3, 3), max(size // 4, 2)
    line = size * 5 // 4 + bar + gap
    rows = [
        (" ".join(names[index].split()), f"{100 * probability:.1f}%", probability)
        for index, probability in zip(prediction.classes[:CLASSES], prediction.probabilities)
    ]
    percent_width = int(_font("100.0%", size).getlength("100.0%"))
    natural = max((int(_font(name, size).getlength(name)) for name, *_ in rows), default=0) + size + percent_width
    room = min(width - height // 15 - 2 * pad, 20 * size)
    inner = max(min(max(natural, 13 * size), room), 2 * size + percent_width)
    image = Image.new("RGBA", ((inner + 2 * pad) // 2 * 2, (len(rows) * line + 2 * pad - gap) // 2 * 2))
    pen = ImageDraw.Draw(image)
    pen.rounded_rectangle((0, 0, image.width - 1, image.height - 1), pad, fill=_BOX)
    for number, (name, percent, probability) in enumerate(rows):
        y = pad + number * line
        ink = _FIRST if number == 0 else _OTHERS
        font = _font(name, size)
        pen.text((pad, y), _fit(name, font, inner - percent_width - size // 2), fill=ink, font=font)
        pen.text((pad + inner, y), percent, fill=ink, font=_font(percent, size), anchor="ra")
        y += size * 5 // 4
        pen.rectangle((pad, y, pad + inner - 1, y + bar - 1), fill=_TRACK)
        if (filled := round(inner * probability)) > 0:
            pen.rectangle((pad, y, pad + filled - 1, y + bar - 1), fill=_BARS[number > 0])
    if image.width > width or image.height > height:  # a tiny video
        scale = min(width / image.width, height / image.height)
        image = image.resize([max(int(side * scale) // 2 * 2, 2) for side in image.size])
    return image


def _fit(text: str, font: Any, width: float) -> str:
    """The text, or as much of it as there is room for."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _font(text: str, size: int) -> Any:
    """One that has the text's letters, as far as the system's fonts are known."""
    return _find_font(any(ord(letter) >= 0x2E80 for letter in text), size)


@lru_cache(maxsize=64)
def _find_font(east_asian: bool, size: int) -> Any:
    for name in (*EAST_ASIAN_FONTS, *FONTS) if east_asian else FONTS:
        with contextlib.suppress(OSError):
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)
