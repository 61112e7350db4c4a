"""Live sources: which frames windows take, breaks, ends, a network that is too slow, and what is said."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import decode_all, encode_images, make_config, make_video, moving
from test_video_file import with_cover

from video_zoo.datareader import live, open_reader, stream
from video_zoo.datareader.batches import Batch
from video_zoo.datareader.live import Clock, LiveWindows
from video_zoo.datareader.one_pass_windows import OnePassWindows
from video_zoo.datareader.sampling import Cuts, Windows
from video_zoo.datareader.stream import StreamReader, Timing
from video_zoo.datareader.timeline import LONGEST_STEP_S, Timeline
from video_zoo.datareader.transforms import EvalTransform, Size
from video_zoo.datareader.video_list import Video
from video_zoo.datareader.views import View
from video_zoo.utils.errors import InputError

FRAMES = 100  # 4 seconds
FAST = Timing(open_s=0.5, read_s=0.5, waits_s=(0.02, 0.04))


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    options = {"x264-params": "keyint=10:min-keyint=10:bframes=0"}
    return make_video(tmp_path_factory.mktemp("stream") / "v.ts", moving(FRAMES, 24, 32), codec_options=options)


@pytest.fixture(scope="module")
def clips(video) -> Callable[[float, float], bytes]:
    """The clip of two segments of the window of these seconds, at 25 frames a second."""
    frames = decode_all(video)
    transform = EvalTransform(16, 16, keep_aspect=False).draw(Size(*frames.shape[2:0:-1]))

    def clip(start_s: float, end_s: float) -> bytes:
        moments = [start_s + part * (end_s - start_s) for part in (0.25, 0.75)]
        numbers = [next(number for number in range(FRAMES) if number / 25 >= moment - 1e-6) for moment in moments]
        return np.stack([transform(np.ascontiguousarray(frames[number])) for number in numbers]).tobytes()

    return clip


@pytest.fixture
def serve() -> Iterator[Callable]:
    """Starts a server that answers with these functions of the request's handler, one a connection, then with 404."""
    servers = []

    def start(*answers: Callable[[BaseHTTPRequestHandler], None]) -> str:
        left = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if left:
                    left.pop(0)(self)
                else:
                    self.send_error(404)

            def log_message(self, *words: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        server.handle_error = lambda *words: None  # a client that left
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_address[1]}/live.ts"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def live_answer(content: bytes, pieces: int = 4, hold: threading.Event | None = None, pause_s: float = 0.0) -> Callable:
    """An answer without a length, in pieces; it stays open until `hold` is set."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "video/mp2t")
        handler.end_headers()
        step = -(-len(content) // pieces)
        for place in range(0, len(content), step):
            handler.wfile.write(content[place : place + step])
            handler.wfile.flush()
            time.sleep(pause_s)
        if hold is not None:
            hold.wait(5)

    return answer


def file_answer(content: bytes, sent: int | None = None) -> Callable:
    """An answer that says its length, and may break off before."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content[:sent])

    return answer


def reader_of(
    source: str, window_s: float, stride_s: float | None = None, model: dict | None = None, **options: object
) -> StreamReader:
    windows = Windows(window_s, window_s if stride_s is None else stride_s)
    return StreamReader(make_config("infer", "", model), source, windows, **{"timing": FAST, "retries": 0, **options})


def live_windows(window_s: float, stride_s: float, *numbers: int) -> LiveWindows:
    transform = EvalTransform(16, 16, keep_aspect=False)
    return LiveWindows(Windows(window_s, stride_s), View(*numbers, transform))


def spans(batches: list[Batch]) -> list[tuple[float, float]]:
    return [batch.spans[0] for batch in batches]


# --- the frames of windows


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(1, 500), min_size=1, max_size=80),
    st.integers(50, 3000),
    st.integers(50, 3000),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_each_moment_takes_the_first_frame_at_or_after_it(steps_ms, window_ms, stride_ms, seg_num, seglen, apart):
    times_ms = np.cumsum([0, *steps_ms]).tolist()
    windows, found = live_windows(window_ms / 1000, stride_ms / 1000, seg_num, seglen, apart), []
    for number, time_ms in enumerate(times_ms):
        found += windows.add(time_ms / 1000, lambda number=number: np.full((3, 2, 2), number, np.int16))
    expected = []
    for start_ms in range(0, times_ms[-1] + 1, stride_ms):
        if not any(start_ms <= time_ms < start_ms + window_ms for time_ms in times_ms):
            continue
        moments = [start_ms + (2 * part + 1) * window_ms / (2 * seg_num) for part in range(seg_num)]
        firsts = [next((n for n, each in enumerate(times_ms) if each >= moment - 1e-6), None) for moment in moments]
        if None not in firsts and firsts[-1] + (seglen - 1) * apart < len(times_ms):
            chosen = [first + step * apart for first in firsts for step in range(seglen)]
            expected.append((round(start_ms), chosen))
    assert [(round(window.start_s * 1000), clip[:, 0, 0, 0].tolist()) for window, clip in found] == expected
    assert all(clip.shape == (seg_num * seglen, 3, 2, 2) for _, clip in found)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 500), max_size=40) | st.integers(0, 150).map(lambda count: count * [40]),
    st.integers(30, 3000),
    st.integers(30, 3000),
    st.integers(1, 9),
    st.integers(1, 3),
    st.booleans(),
)
def test_a_video_read_once_has_the_windows_of_a_file(steps_ms, window_ms, stride_ms, seg_num, seglen, length_is_known):
    """Where frames come at a steady rate, the same frames, too; elsewhere, frames of the window."""
    times_s = (np.cumsum([0, *steps_ms]) / 1000).tolist()
    windows = Windows(window_ms / 1000, stride_ms / 1000)
    view = View(seg_num, seglen, 1, EvalTransform(16, 16, keep_aspect=False))
    cuts = list(Cuts(times_s, windows))
    once = OnePassWindows(windows, view, 0.04, cuts[-1].span.end_s if length_is_known else None)
    found = []
    for number, time_s in enumerate(times_s):
        found += once.add(time_s, lambda number=number: np.full((3, 2, 2), number, np.int16))
    found += once.finish()
    assert np.allclose([span for span, _ in found], [cut.span for cut in cuts])
    for (_, clip), cut in zip(found, cuts):
        numbers = clip[:, 0, 0, 0].tolist()
        assert len(numbers) == seg_num * seglen and set(numbers) <= set(range(cut.first, cut.first + cut.num_frames))
        if set(steps_ms) <= {40} and (length_is_known or cut.num_frames * 40 >= window_ms - 40):
            assert numbers == [cut.first + index for index in view.indices(cut.num_frames)]


def test_only_the_frames_that_are_needed_are_made(video, clips):
    windows, made = live_windows(1.0, 1.0, 2, 1, 1), []
    for number in range(FRAMES):
        windows.add(number / 25, lambda number=number: made.append(number) or np.zeros((3, 2, 2), np.uint8))
    assert made == [7, 19, 32, 44, 57, 69, 82, 94]


def test_a_break_leaves_out_the_windows_under_way():
    windows, found = live_windows(1.0, 0.5, 1, 1, 1), []
    frame = lambda: np.zeros((3, 2, 2), np.uint8)  # noqa: E731
    for time_s in (0, 0.4):
        found += windows.add(time_s, frame)
    windows.break_off(5.2)
    for time_s in (5.2, 5.6, 6.1):
        found += windows.add(time_s, frame)
    assert [window.start_s for window, _ in found] == [5.5]


def test_the_clock_goes_on_whatever_the_stamps_say(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(live.time, "monotonic", lambda: now[0])
    clock, told = Clock(Timeline(longest_s=LONGEST_STEP_S), finite=False), []

    def tell(passed_s: float, stamp_s: float | None) -> None:
        now[0] += passed_s
        told.append((clock.tell(stamp_s), round(clock.now_s, 3)))

    tell(0, 7.0)
    tell(0.1, 7.1)
    tell(0.1, None)
    tell(0.1, 7.2)
    tell(0.1, 50000.0)  # it leaps
    tell(0.1, 50000.1)
    tell(0.1, 3.0)  # and back
    tell(0.1, 3.1)
    clock.reconnect()
    tell(60, 900.0)
    tell(0.1, 900.1)
    assert [time_s for _, time_s in told] == [0, 0.1, 0.2, 0.2, 0.3, 0.4, 0.5, 0.6, 60.7, 60.8]
    assert [unbroken for unbroken, _ in told[1:]] == 7 * [True] + [False, True]


# --- sources


def test_a_live_stream_gives_windows_until_its_duration(video, clips, serve):
    hold = threading.Event()
    url = serve(live_answer(video.read_bytes(), 4, hold, pause_s=0.2))
    with reader_of(url, 1.0, 0.5, duration_s=3.0) as reader:
        batches = list(reader)
        reader.check_failures()
    hold.set()
    assert len(reader) == 1 and reader.dropped == 0 and not reader.failures
    assert np.allclose(spans(batches), [(start / 2, start / 2 + 1) for start in range(5)])
    for batch in batches:
        assert batch.ids == [url] and batch.global_batch_size == 1 and batch.labels.tolist() == [-1]
        assert batch.clips.shape == (1, 2, 3, 16, 16) and batch.clips.tobytes() == clips(*batch.spans[0])


def test_a_stream_that_breaks_is_connected_again(video, serve, log):
    content = video.read_bytes()
    url = serve(live_answer(content[: len(content) // 2]), live_answer(content))
    with reader_of(url, 0.5, retries=2) as reader:
        batches = list(reader)
    reasons = [failure.reason for failure in reader.failures]
    assert len(reasons) == 1 and "after 2 tries to connect again" in reasons[0]
    assert "connecting again in 0.02 s (try 1 of 2)" in log.text
    assert "connecting again in 0.04 s (try 2 of 2)" in log.text
    starts = [start for start, _ in spans(batches)]
    assert starts == sorted(set(starts)) and all((2 * start).is_integer() for start in starts)
    assert len(batches) + reader.dropped >= 9
    with pytest.raises(InputError, match="after 2 tries"):
        reader.check_failures()


def of_file(path: Path, window_s: float, stride_s: float | None = None, **model: object) -> list[tuple]:
    """(span, clip) of each window of a file."""
    windows = Windows(window_s, stride_s or window_s)
    config = make_config("infer", "", model)
    with open_reader("infer", config, videos=[Video(str(path), None, 1)], windows=windows) as reader:
        return [(span, clip.tobytes()) for batch in reader for span, clip in zip(batch.spans, batch.clips)]


def same_windows(batches: list[Batch], expected: list[tuple]) -> bool:
    found = [(batch.spans[0], batch.clips[0].tobytes()) for batch in batches]
    return np.allclose(spans(batches), [span for span, _ in expected]) and [clip for _, clip in found] == [
        clip for _, clip in expected
    ]


def test_a_file_of_a_web_server_is_read_whole_and_once(video, serve):
    url = serve(file_answer(video.read_bytes()))
    with reader_of(url, 0.5, retries=3) as reader:
        batches = []
        for batch in reader:
            batches.append(batch)
            time.sleep(0.03)  # the stream is faster; nothing is lost
    assert not reader.failures and not reader.dropped
    assert len(batches) == 8 and same_windows(batches, of_file(video, 0.5))


@pytest.mark.parametrize("window_s, stride_s, segments", [(5.0, 5.0, 3), (3.0, 0.7, 8), (0.3, 0.5, 2), (0.02, 0.03, 1)])
@pytest.mark.parametrize("name", ["v.mp4", "joined.ts"])
def test_the_windows_of_an_address_are_those_of_the_file(
    video, serve, tmp_path, log, name, window_s, stride_s, segments
):
    """Also its last window, and the only one of a short video; and where its clock jumps back: there, a window that is
    cut at the end has frames nearby."""
    path = tmp_path / name
    if name == "joined.ts":
        path.write_bytes(2 * video.read_bytes())
    else:
        make_video(path, moving(48, 24, 32), file_options={"movflags": "faststart"})
    url = serve(file_answer(path.read_bytes()))
    with reader_of(url, window_s, stride_s, {"seg_num": segments}) as reader:
        batches = list(reader)
    expected = of_file(path, window_s, stride_s, seg_num=segments)
    whole = len(expected) if name == "v.mp4" else sum(end - start > window_s - 1e-6 for (start, end), _ in expected)
    assert not reader.failures and np.allclose(spans(batches), [span for span, _ in expected])
    assert whole and same_windows(batches[:whole], expected[:whole])
    assert ("its clock jumps once" in log.text) == (name == "joined.ts")


def test_a_cover_picture_that_comes_first_is_not_the_video(serve, tmp_path):
    plain, path = make_video(tmp_path / "plain.mp4", moving(24, 24, 32)), tmp_path / "cover.mp4"
    path.write_bytes(with_cover(plain.read_bytes(), encode_images(moving(1))[0]))
    with reader_of(serve(file_answer(path.read_bytes())), 0.5) as reader:
        batches = list(reader)
    assert not reader.failures and len(batches) == 2 and same_windows(batches, of_file(plain, 0.5))


def test_a_file_that_breaks_off_is_read_on(video, serve, log):
    content = video.read_bytes()
    url = serve(file_answer(content, len(content) // 2), file_answer(content))
    with reader_of(url, 0.5, retries=3) as reader:
        batches = list(reader)
    assert "try 1 of 3" in log.text and not reader.failures
    assert len(batches) == 8 and same_windows(batches, of_file(video, 0.5))


def test_a_file_ends_at_the_duration_that_is_asked_for(video, serve):
    with reader_of(serve(file_answer(video.read_bytes())), 1.0, duration_s=2.6) as reader:
        assert np.allclose(spans(list(reader)), [(0, 1), (1, 2), (2, 2.6)])


def test_a_slow_network_gets_the_newest_windows(video, serve, log):
    hold = threading.Event()
    url = serve(live_answer(video.read_bytes(), hold=hold))
    with reader_of(url, 0.2, duration_s=3.5) as reader:
        batches = iter(reader)
        first = next(batches)
        deadline = time.monotonic() + 5
        while reader._thread.is_alive() and time.monotonic() < deadline:
            time.sleep(0.01)
        rest = list(batches)
        reader.report_failures()
    hold.set()
    kept = spans([first, *rest])
    assert reader.dropped >= 14 and len(kept) + reader.dropped == 17  # of two that wait, and the one that was taken
    assert np.allclose(kept[-2:], [(3.0, 3.2), (3.2, 3.4)])
    assert f"{reader.dropped} windows were dropped" in log.text


@pytest.mark.parametrize("retries", [0, 2])
def test_a_server_that_never_answers(serve, retries):
    hold = threading.Event()
    url = serve(*3 * [lambda handler: hold.wait(5)])
    start = time.monotonic()
    with reader_of(url, 1.0, retries=retries, timing=FAST._replace(open_s=0.2)) as reader:
        assert list(reader) == []
    hold.set()
    assert time.monotonic() - start < 3
    assert len(reader.failures) == 1 and reader.failures[0].reason.strip()


def test_a_stream_that_falls_silent_breaks(video, serve):
    hold = threading.Event()
    url = serve(live_answer(video.read_bytes()[: 188 * 40], hold=hold))
    start = time.monotonic()
    with reader_of(url, 0.2) as reader:
        list(reader)
    hold.set()
    assert 0.4 < time.monotonic() - start < 3 and len(reader.failures) == 1


def test_a_stream_ends_at_its_duration_also_if_nothing_comes(serve, monkeypatch):
    monkeypatch.setattr(stream, "_GRACE_S", 0.1)
    hold = threading.Event()
    url = serve(lambda handler: hold.wait(5))
    start = time.monotonic()
    with reader_of(url, 1.0, duration_s=0.2, timing=Timing()) as reader:
        assert list(reader) == []
    hold.set()
    assert time.monotonic() - start < 2


def test_closing_and_an_interruption_end_a_wait_at_once(serve):
    hold = threading.Event()
    url = serve(*2 * [lambda handler: hold.wait(5)])
    with reader_of(url, 1.0, timing=Timing()) as reader:
        threading.Timer(0.2, reader.close).start()
        start = time.monotonic()
        assert list(reader) == []
    with reader_of(url, 1.0, timing=Timing()) as reader, pytest.raises(KeyboardInterrupt):
        threading.Timer(0.2, interrupt).start()
        list(reader)
    hold.set()
    assert time.monotonic() - start < 3


def interrupt() -> None:
    import _thread

    _thread.interrupt_main()


def test_a_stream_cannot_lead_to_a_file(video, tmp_path, serve):
    """A playlist from the network that names a file of this machine."""
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXTINF:4,\nfile://{video}\n#EXT-X-ENDLIST\n".encode()
    url = serve(file_answer(playlist)).replace("live.ts", "list.m3u8")
    for source in (url, f"file://{video}", str(video)):
        with reader_of(source, 0.5) as reader:
            assert list(reader) == [] and len(reader.failures) == 1


# --- cameras


class Camera:
    """Gives 20 frames of rising grey levels, one every 10 ms of its own time, then no more."""

    opened: list[int] = []
    now_s = 0.0

    def __init__(self, number: int):
        Camera.opened.append(number)
        self.frame = 0

    def isOpened(self) -> bool:  # noqa: N802
        return len(Camera.opened) < 3

    def grab(self) -> bool:
        time.sleep(0.01)
        Camera.now_s += 0.01
        self.frame += 1
        return self.frame <= 20

    def retrieve(self) -> tuple[bool, np.ndarray]:
        return True, np.full((24, 32, 3), (0, 0, 10 * self.frame), np.uint8)  # BGR

    def release(self) -> None:
        pass


def test_a_camera(monkeypatch, log):
    Camera.opened = []
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    monkeypatch.setattr(live, "time", SimpleNamespace(monotonic=lambda: Camera.now_s))
    with reader_of("3", 0.06, retries=1) as reader:
        batches = list(reader)
    assert Camera.opened == [3, 3, 3]
    assert len(batches) >= 3 and all(batch.ids == ["3"] for batch in batches)
    for batch in batches:
        red, green, blue = batch.clips[0].transpose(1, 0, 2, 3)
        assert red.min() > 0 and not green.any() and not blue.any() and red[0].max() < red[1].min()
    assert "the camera gives no more images; connecting again" in log.text
    assert "there is no such camera" in reader.failures[0].reason


# --- what is said and refused


def test_passwords_are_not_shown(log):
    with reader_of("http://me:secret@127.0.0.1:9/x?channel=1&token=secret", 1.0, retries=1) as reader:
        list(reader)
        reader.report_failures()
    assert "http://***@127.0.0.1:9/x?channel=1&token=***" in log.text and "secret" not in log.text + str(
        reader.failures
    )


def test_clips_that_cannot_fit_into_memory_are_refused():
    large = {"model": {"num_classes": 4, "seg_num": 10_000}, "short_size": 16384, "target_size": 16384}
    with pytest.raises(InputError, match=r"10000 frames of 16384 x 16384 pixels .* GB"):
        StreamReader(make_config("infer", "", **large), "0", Windows(1.0, 1.0))


def test_an_error_in_the_thread_comes_through(video, serve, monkeypatch):
    monkeypatch.setattr(OnePassWindows, "add", lambda *words: 1 / 0)
    with reader_of(serve(file_answer(video.read_bytes())), 1.0) as reader, pytest.raises(ZeroDivisionError):
        list(reader)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model": {"format": "frames"}}, "MODEL.format is frames"),
        ({"window_s": 0.0}, "a window of 0 seconds"),
        ({"stride_s": -1.0}, "a stride of -1 seconds"),
        ({"window_s": 1e-7}, "far shorter than a frame"),
        ({"window_s": 600.0, "stride_s": 0.01}, "60,000 windows of 600 seconds would overlap"),
        ({"duration_s": 0.0}, "a duration of 0 seconds"),
    ],
)
def test_what_cannot_be_read_so_is_refused(change, message):
    with pytest.raises(InputError, match=message):
        reader_of("0", **{"window_s": 1.0, **change})


def test_windows_under_way_count_in_the_memory_that_a_stream_takes(monkeypatch):
    """Four windows of 1 second have begun, two wait, and the network has one: seven clips of 2 x 3 x 16 x 16 bytes."""
    monkeypatch.setattr("video_zoo.datareader.checks.memory_bytes", lambda: 7 * 2 * 3 * 16 * 16)
    with reader_of("0", 1.0, 0.25):
        pass
    said = r"^windows of 1 seconds, one every 0\.24: 8 clips of 2 frames of 16 x 16 pixels .*\. A longer stride, or"
    with pytest.raises(InputError, match=said):
        reader_of("0", 1.0, 0.24)


def test_there_is_one_pass(monkeypatch):
    Camera.opened = [0, 0]
    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    with reader_of("0", 1.0) as reader:
        list(reader)
        with pytest.raises(RuntimeError):
            list(reader)


def test_a_stream_is_scaled_as_its_model_wants_it():
    with pytest.raises(InputError, match="no transform named 'sideways'"):
        StreamReader(make_config("infer", ""), "0", Windows(1.0, 1.0), "sideways")
