"""Decodes the wanted frames of a video, and as few others as they need.

A video is a row of packets, one picture each. Three kinds of packets need not be decoded: those after the last wanted
picture, those of a stretch between two starting points that holds no wanted picture, and those of pictures that no
other refers to. What is left gives the same bits as decoding everything. Where a file has a property that leaves room
for doubt, everything is decoded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import av

from video_zoo.datareader.codecs import Unclear, describer
from video_zoo.datareader.containers import cut_off, is_mp4, transport_packets_lost
from video_zoo.datareader.packets import PacketTable, Run, doubt, plan
from video_zoo.datareader.timeline import LONGEST_STEP_S, timeline_of
from video_zoo.datareader.video_file import open_container, packets_of, video_stream

_DESCRIBED_AT_ONCE = 32  # packets: reading and describing them one by one in turn is slower


class PacketVideo:
    """An open video file.

    Args:
        path: an absolute path, so that FFmpeg takes no colon in it for a protocol.
        lenient: everything is decoded, and what cannot be decoded is passed over, as OpenCV does; no damage is noted.
        probe: whether `stream` is to have what FFmpeg finds out of it by decoding. Without, an MP4 file whose packets
            leave no doubt is opened without that: it takes as long as decoding a keyframe.

    Raises av.FFmpegError or ValueError: no video, a damaged header, or a list of other files.
    """

    def __init__(self, path: Path, lenient: bool = False, probe: bool = True):
        self.path, self._lenient = path, lenient
        probe = probe or lenient or not is_mp4(path)
        self._open(probe)
        if not probe and self.table.unclear:  # perhaps only because the decoder has not seen a picture
            self.container.close()
            self._open(probe=True)

    def _open(self, probe: bool) -> None:
        self.container = open_container(self.path, probe)
        try:
            self.stream = video_stream(self.container)
            self.context = self.stream.codec_context
            self.codec = self.context.codec.canonical_name
            self.context.thread_count = 1  # the reader's processes are the parallelism
            self.context.options = {"err_detect": "explode"}  # what is not decoded is an error, and no stale memory
            self.table = self._count_packets() if self._lenient else self._read_table(whole=probe)
        except BaseException:
            self.container.close()
            raise

    def __enter__(self) -> PacketVideo:
        return self

    def __exit__(self, *error: object) -> None:
        self.container.close()

    def times(self) -> tuple[list[float], int]:
        """As the packets have them: the times of the frames that are shown, ascending, in seconds from the first one;
        and how often the clock jumps."""
        table, timeline = self.table, timeline_of(self.stream)
        shown = [place for place, pts in enumerate(table.pts) if pts is not None and not table.discards[place]]
        if table.unclear and None not in table.dts:  # these rise, but at a jump
            decoded_s = [timeline.add(dts) for dts in table.dts]
            delays = [(table.pts[place] - table.dts[place]) * self.stream.time_base for place in shown]
            times_s = sorted(decoded_s[place] + float(delay) for place, delay in zip(shown, delays))
        else:
            times_s = [timeline.add(pts) for pts in sorted(table.pts[place] for place in shown)]
        return [time_s - times_s[0] for time_s in times_s], timeline.jumps

    def decode_selected(self, wanted: Iterable[int]) -> Iterator[tuple[int, av.VideoFrame]]:
        """(number, frame) of the wanted ones, in no particular order.

        Raises Unclear where the file turns out not to be what its packets promised; then `decode_all`.
        """
        table, shown = self.table, self.table.shown()
        numbers = {table.pts[shown[number]]: number for number in wanted}
        for run in plan(table, [shown[number] for number in set(wanted)]):
            last = -math.inf
            for frame in self._decode(self._packets(run)):
                if frame.is_corrupt or frame.pts is None or frame.pts <= last:
                    raise Unclear("frames do not come whole, in the order of their timestamps")
                last = frame.pts
                if last in numbers:
                    yield numbers.pop(last), frame
        if numbers:
            raise Unclear("a frame did not come out of the decoder")

    def decode_all(self) -> Iterator[av.VideoFrame]:
        """Every frame up to the damage, in the order of presentation, by a decoder that has seen nothing before.

        Damage is noted in the table.
        """
        table, decoded, begun = self.table, 0, False
        with open_container(self.path) as container:
            stream = video_stream(container)
            stream.codec_context.thread_count = 1
            for packet in self._whole_packets(container, stream):
                begun |= packet is None or packet.is_keyframe
                try:
                    frames = stream.codec_context.decode(packet)
                except av.FFmpegError:
                    if self._lenient or not begun:
                        continue  # before the first keyframe nothing can be expected
                    frames = None
                for frame in frames or ():
                    if frame.is_corrupt and not self._lenient:
                        frames = None
                        break
                    yield frame
                    decoded += 1
                if frames is None:
                    table.damage = table.damage or "a frame is damaged"
                    return
        if not table.ends_early and not self._lenient:
            table.finish(decoded)

    def _whole_packets(self, container: Any, stream: Any) -> Iterator[av.Packet | None]:
        """The table's packets, then None, which empties the decoder; but not where packets are missing at the end:
        of what it holds then, some frames may follow a missing one."""
        packets = (packet for packet in packets_of(container, stream) if packet.size)
        yield from islice(packets, len(self.table))
        if not self.table.ends_early:
            yield None

    def _decode(self, packets: Iterable[av.Packet]) -> Iterator[av.VideoFrame]:
        """The frames of a run. Raises Unclear."""
        try:
            for packet in packets:
                yield from self.context.decode(packet)
            yield from self.context.decode(None)
        except av.FFmpegError as error:
            raise Unclear("a packet that cannot be decoded") from error
        finally:
            self.context.flush_buffers()

    def _packets(self, run: Run) -> Iterator[av.Packet]:
        if self.table.packets is not None:
            source = self.table.packets[run.first : run.last + 1]
        else:
            source = self._read_again(run.first, run.last)
        return (packet for place, packet in enumerate(source, run.first) if place not in run.left_out)

    def _read_again(self, first: int, last: int) -> Iterator[av.Packet]:
        """The packets first to last, from the file. Raises Unclear if they are not found there a second time."""
        place = None
        with open_container(self.path) as container:
            stream = video_stream(container)
            if first:
                dts, pts = self.table.dts[first], self.table.pts[first]
                container.seek(pts if dts is None else dts, stream=stream)
            else:
                place = 0
            for packet in packets_of(container, stream):
                if place is None and packet.pts == self.table.pts[first]:
                    place = first
                if place is None:
                    continue
                if packet.pts != self.table.pts[place] or not packet.size:
                    raise Unclear("the packets differ when they are read again")
                yield packet
                if place == last:
                    return
                place += 1
        raise Unclear("the packets are not found again")

    def _only_joined(self) -> bool:
        """Whether a mark of corruption only means that the file was joined from others."""
        return self.container.format.name == "mpegts" and not transport_packets_lost(self.path, self.stream.id)

    def _count_packets(self) -> PacketTable:
        """The table of a file of which everything is decoded."""
        table = PacketTable(packets=None, unclear="everything is to be decoded")
        with suppress(av.FFmpegError):  # what comes before is used
            for packet in packets_of(self.container, self.stream):
                if packet.size:
                    table.add(packet)
        return table

    def _read_table(self, whole: bool) -> PacketTable:
        """The table of the packets; of a file that is unclear perhaps not all of them, unless it is to be `whole`."""
        table, describe, waiting = PacketTable(), None, []
        try:
            describe = describer(self.codec, self.context.extradata or b"")
            table.unclear = None if describe else f"nothing is known here of {self.codec}"
        except Unclear as error:
            table.unclear = str(error)
        try:
            for packet in packets_of(self.container, self.stream):
                if not packet.size:
                    continue
                if packet.is_corrupt:
                    if not table.joined and not self._only_joined():
                        table.damage = "a packet is cut off"
                        break
                    table.joints.append(len(table))
                if table.unclear and not whole:
                    break
                table.add(packet)
                waiting.append(packet)
                if len(waiting) == _DESCRIBED_AT_ONCE:
                    table.describe(waiting, describe)
                    waiting.clear()
        except av.FFmpegError as error:
            table.damage = f"its packets cannot be read on ({error.strerror})"
        table.describe(waiting, describe)
        table.damage = cut_off(self.path) or table.damage
        table.ends_early = table.damage is not None
        if table.joined:
            table.check_joints(LONGEST_STEP_S / self.stream.time_base)
        table.unclear = table.unclear or table.damage or doubt(table, self.codec, _decoder_delay(self.context))
        if table.unclear:
            table.packets = None  # decode_all reads them again
        return table


def _decoder_delay(context: Any) -> int:
    """Pictures that the decoder holds back, at most."""
    if hasattr(context, "reorder_depth"):  # PyAV 17 and newer
        return context.reorder_depth
    return 16 if context.has_b_frames else 0  # how many, it does not say
