"""A list of 200 videos, 20 of them damaged in different ways, read through twice by two processes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from media import make_audio, make_config, make_list, make_video, moving, zero_packets

from video_zoo.datareader import open_reader

FASTSTART = {"movflags": "faststart"}


def flip_bits(data: bytes, path: Path, place: int) -> bytes:
    """A bit in each of many bytes of a packet's picture: more than any decoder can overlook."""
    content = bytearray(data)
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][place]
    for position in range(packet.pos + packet.size // 2, packet.pos + packet.size - 8):
        content[position] ^= 16
    return bytes(content)


def damage(folder: Path) -> dict[str, str]:
    """Makes 20 bad videos; returns what must be said of each."""
    good = make_video(folder / "source.mp4", moving(40), codec_options={"g": "12"}, file_options=FASTSTART)
    data = good.read_bytes()
    behind = make_video(folder / "behind.mp4", moving(40), codec_options={"g": "12"}).read_bytes()
    matroska = make_video(folder / "source.mkv", moving(40), codec_options={"g": "12"}).read_bytes()
    header = data.find(b"mdat") + 4
    random = np.random.default_rng(0)
    files = {
        "truncated in the middle.mp4": (data[: header + (len(data) - header) // 2], "cut off"),
        "truncated at the end.mp4": (data[:-200], "cut off"),
        "truncated early.mp4": (data[: header + 3000], "cut off"),
        "truncated, header behind.mp4": (behind[: len(behind) // 2], "no video"),
        "truncated.mkv": (matroska[: len(matroska) // 2], "cut off"),
        "zeroed packet.mp4": (zero_packets(good, range(20, 21), 30), "damaged"),
        "zeroed first packet.mp4": (zero_packets(good, range(0, 1), 30), "damaged"),
        "zeroed from the middle on.mp4": (zero_packets(good, range(15, 40), 100), "damaged"),
        "header alone.mp4": (data[:header], "not one frame"),
        "flipped bits.mp4": (flip_bits(data, good, place=0), "damaged"),
        "header zeroed.mp4": (bytes(header) + data[header:], "no video"),
        "empty.mp4": (b"", "empty"),
        "zeros.mp4": (bytes(20_000), "no video"),
        "noise.mp4": (random.bytes(20_000), "no video"),
        "text.mp4": (b"<html>404 Not Found</html>\n" * 40, "no video"),
        "playlist.mp4": (b"#EXTM3U\n#EXTINF:1,\nsource.mp4\n#EXT-X-ENDLIST\n", "no video"),
        "picture.mp4": (b"\x89PNG\r\n\x1a\n" + bytes(100), "no video|not one frame"),
    }
    for name, (content, _) in files.items():
        (folder / name).write_bytes(content)
    make_audio(folder / "sound alone.mp4")
    (folder / "folder.mp4").mkdir()
    reasons = {name: reason for name, (_, reason) in files.items()}
    return {**reasons, "sound alone.mp4": "no video", "folder.mp4": "a folder", "missing.mp4": "no such file"}


@pytest.mark.parametrize("on_damage", ["use", "skip"])
def test_every_bad_one_is_named_and_the_second_pass_is_the_first(tmp_path, on_damage, log):
    reasons = damage(tmp_path)
    assert len(reasons) == 20
    whole = make_video(tmp_path / "whole.mp4", moving(20, 32, 32), codec_options={"g": "5"})
    names = [f"good {number}.mp4" for number in range(180)]
    for name in names:
        os.link(whole, tmp_path / name)
    names = np.random.default_rng(0).permutation([*names, *reasons]).tolist()
    filelist = make_list(tmp_path / "all.list", [f"{name} {number % 4}" for number, name in enumerate(names)])
    config = make_config(
        "test", filelist, num_reader_threads=2, batch_size=16, max_bad_videos=0.2, on_damage=on_damage, seg_num=8
    )
    passes = []
    with open_reader("test", config) as reader:
        for _ in range(2):
            batches = list(reader)
            named = {problem.video.path: problem.reason for problem in [*reader.failures, *reader.damaged]}
            ids = [video_id for batch in batches for video_id in batch.ids]
            pixels = np.concatenate([batch.clips for batch in batches])
            passes.append((named, ids, pixels.tobytes()))
        used = {problem.video.path for problem in reader.damaged}
    assert passes[0] == passes[1]
    named, ids, _ = passes[0]
    assert set(named) == set(reasons)
    for name, reason in named.items():
        assert any(part in reason for part in reasons[name].split("|")), (name, reason)
    assert ids == [name for name in names if name not in named or name in used]
    assert bool(used) == (on_damage == "use")
    assert all(any(name in line.getMessage() for line in log.records) for name in reasons)
    shutil.rmtree(tmp_path / "folder.mp4")
