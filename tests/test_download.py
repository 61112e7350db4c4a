"""Downloads against a server that behaves badly, and archives that want to write elsewhere."""

from __future__ import annotations

import contextlib
import io
import os
import random
import re
import socket
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Callable

import pytest
from media import plant

from video_zoo.utils import archives, download
from video_zoo.utils.download import DownloadError, NotFound, fetch_folder
from video_zoo.utils.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
CONTENT = {"weights": random.Random(0).randbytes(60_000), "bias": b"bias"}
Answer = Callable[[BaseHTTPRequestHandler], None]


def tar_gz(files: dict[str, bytes], top: str = "", level: int = 6) -> bytes:
    """The bytes of a .tar.gz of these files; level 0 stores them as they are."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=level) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(top + name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


ARCHIVE = tar_gz(CONTENT)
HALF = len(ARCHIVE) // 2


# A server


def give(data: bytes, *, ranges: bool = True, stop: int | None = None) -> Answer:
    """An answer: `data`, from where it is asked for if `ranges`.

    Args:
        stop: the connection ends before this byte of `data`, whatever Content-Length said.
    """

    def answer(request: BaseHTTPRequestHandler) -> None:
        asked = request.headers.get("Range", "")
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if ranges and asked else 0
        size = len(data)
        if start and start >= size:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{size}")
            request.end_headers()
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        request.send_header("Content-Length", str(size - start))
        request.end_headers()
        request.wfile.write(data[start:stop])

    return answer


def refuse(code: int) -> Answer:
    """An answer: an error page."""
    return lambda request: request.send_error(code)


class Server(ThreadingHTTPServer):
    """Gives its answers one after the other; the last one again and again. Notes (path, Range) of every request."""

    daemon_threads = True

    def __init__(self, answers: dict[str, list[Answer]]):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = {path: list(each) for path, each in answers.items()}
        self.requests: list[tuple[str, str | None]] = []

    def url(self, path: str = "/a.tar.gz") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers.get("Range")))
        answers = self.server.answers.get(self.path) or [refuse(404)]
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve():
    """Starts a server that gives these answers for /a.tar.gz, and for other paths as said."""
    servers = []

    def start(*answers: Answer, **others: list[Answer]) -> Server:
        paths = {f"/{name}.tar.gz": each for name, each in others.items()}
        server = Server({**({"/a.tar.gz": list(answers)} if answers else {}), **paths})
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def naps(monkeypatch) -> list[float]:
    """The seconds that download() would have slept; and no proxy between it and our server."""
    naps: list[float] = []
    monkeypatch.setattr(download, "time", SimpleNamespace(sleep=naps.append, monotonic=time.monotonic))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "*")
    return naps


@pytest.fixture
def folder(tmp_path) -> Path:
    return tmp_path / "cache" / "zoo_weights"


@pytest.fixture
def part(folder) -> Path:
    """What an earlier download left: an empty place, so far."""
    folder.parent.mkdir()
    return folder.with_name("zoo_weights.tar.gz.part")


def accept(folder: Path) -> None:
    pass


def content_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def kept(folder: Path) -> list[str]:
    """What is in the cache, besides the lock's file."""
    return sorted(path.name for path in folder.parent.iterdir() if path.suffix != ".lock")


def error_of(kind: type[Exception], *arguments) -> str:
    with pytest.raises(kind) as caught:
        fetch_folder(*arguments)
    return str(caught.value)


# Downloads


def test_a_good_server(serve, folder, naps):
    server = serve(give(ARCHIVE))
    checked = []
    assert fetch_folder([server.url()], folder, lambda made: checked.append(content_of(made))) == folder
    assert content_of(folder) == CONTENT and checked == [CONTENT]
    assert server.requests == [("/a.tar.gz", None)] and naps == []
    assert kept(folder) == ["zoo_weights"]
    assert fetch_folder([server.url()], folder, accept) == folder
    assert len(server.requests) == 1  # it is there already


def test_a_server_without_a_length(serve, folder):
    def answer(request):
        request.send_response(200)
        request.end_headers()
        request.wfile.write(ARCHIVE)

    fetch_folder([serve(answer).url()], folder, accept)
    assert content_of(folder) == CONTENT


def test_a_connection_that_ends_half_way_goes_on_from_there(serve, folder, log, naps):
    server = serve(give(ARCHIVE, stop=HALF), give(ARCHIVE))
    fetch_folder([server.url()], folder, accept)
    assert content_of(folder) == CONTENT
    assert server.requests == [("/a.tar.gz", None), ("/a.tar.gz", f"bytes={HALF}-")]
    assert f"broke off ({HALF:,} of {len(ARCHIVE):,} bytes came); going on" in log.text and len(naps) == 1


@pytest.mark.parametrize(
    "number, tries",
    [(socket.EAI_NONAME, 1), (socket.EAI_AGAIN, 4), (None, 4)],
    ids=["no such name", "no network", "refused"],
)
def test_what_has_not_begun_is_no_download_that_broke_off(folder, log, naps, monkeypatch, number, tries):
    def refuse(*address):
        asked.append(address)
        raise socket.gaierror(number, "no address") if number else ConnectionRefusedError("refused")

    asked = []
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    said = error_of(DownloadError, ["http://no.such.host/a.tar.gz"], folder, accept)
    looked_up = "the name of its server cannot be looked up (no address); is there a network?"
    assert said == f"cannot download http://no.such.host/a.tar.gz: {looked_up if number else 'refused'}"
    assert len(asked) == tries and len(naps) == tries - 1 and "broke off" not in log.text
    assert log.text.count("cannot begin") == tries - 1


@pytest.mark.parametrize("kind", ["link", "hard link"])
def test_a_part_that_is_a_link_is_not_written_to(serve, folder, part, naps, kind):
    victim = folder.with_name("victim")
    victim.write_bytes(ARCHIVE[:HALF])
    plant(kind, part, victim)
    said = error_of(InputError, [serve(give(ARCHIVE)).url()], folder, accept)
    assert said == f"cannot write {part}: it is a link, a pipe or a device, or has a second name; remove it"
    assert victim.read_bytes() == ARCHIVE[:HALF] and naps == []


def test_what_a_killed_process_was_unpacking_goes(serve, folder, part):
    leftover = folder.with_name(".zoo_abcd1234.tmp")
    (leftover / "deep").mkdir(parents=True)
    fetch_folder([serve(give(ARCHIVE)).url()], folder, accept)
    assert content_of(folder) == CONTENT and kept(folder) == ["zoo_weights"]


def test_any_number_of_breaks_is_fine_while_bytes_come(serve, folder, monkeypatch):
    monkeypatch.setattr(download, "LEAST_BYTES", 10_000)
    stops = range(10_000, len(ARCHIVE), 10_000)
    assert len(stops) > download.TRIES
    server = serve(*(give(ARCHIVE, stop=stop) for stop in stops), give(ARCHIVE))
    fetch_folder([server.url()], folder, accept)
    assert content_of(folder) == CONTENT
    assert [asked for _, asked in server.requests] == [None, *(f"bytes={stop}-" for stop in stops)]


def drip(data: bytes, times: int, nap: Callable[[], None]) -> Answer:
    """An answer without a length: `data` again and again, with a nap before each."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        with contextlib.suppress(OSError):  # the other side has closed
            for _ in range(times):
                nap()
                request.wfile.write(data)

    return answer


def test_a_byte_a_connection_is_too_little(serve, folder):
    """Bytes come each time, and would for ever."""
    server = serve(*(give(ARCHIVE, stop=stop) for stop in range(1, 100)))
    said = error_of(DownloadError, [server.url()], folder, accept)
    assert "4 of 60,307 bytes came; 4 bytes are kept" in said and len(server.requests) == download.TRIES


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", b"x"),
        (b"HTTP", b"x"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
    ids=["the body", "a body of known length", "the status line", "a header", "the size of a chunk", "100 Continue"],
)
def test_a_byte_now_and_then_is_too_little(serve, folder, monkeypatch, start, again):
    """Wherever it comes, and though none of them is late for itself: the socket waits longer, however busy this machine
    is."""
    open_url = urllib.request.OpenerDirector.open
    monkeypatch.setattr(urllib.request.OpenerDirector, "open", lambda *given, timeout: open_url(*given, timeout=20))
    monkeypatch.setattr(download, "TIMEOUT_S", 0.2)
    monkeypatch.setattr(download, "TRIES", 2)

    def answer(request: BaseHTTPRequestHandler) -> None:
        with contextlib.suppress(OSError):  # the other side has closed
            request.wfile.write(start)
            for _ in range(1000):
                request.wfile.write(again)
                time.sleep(0.01)

    server = serve(answer)
    said = error_of(DownloadError, [server.url()], folder, accept)
    assert f"cannot download {server.url()}: fewer than 16,384 bytes in 0.2 s" in said
    assert len(server.requests) == download.TRIES


def test_a_redirect_to_ftp_is_not_followed(serve, folder):
    """Nothing watches how long it takes."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", "ftp://127.0.0.1:9/a.tar.gz")
        request.end_headers()

    assert "leads to ftp://127.0.0.1:9/a.tar.gz" in error_of(DownloadError, [serve(answer).url()], folder, accept)


@pytest.mark.parametrize("length", [None, "1000001", "9" * 17, "9" * 5000, "-1", "many"])
def test_more_than_weights_can_be_is_not_downloaded(serve, folder, monkeypatch, length):
    monkeypatch.setattr(download, "MOST_BYTES", 1_000_000)
    endless = drip(bytes(100_000), 1000, lambda: None)

    def answer(request: BaseHTTPRequestHandler) -> None:
        if length is not None:
            request.send_header = lambda *_: None
            request.send_response_only(200)
            request._headers_buffer.append(f"Content-Length: {length}\r\n".encode())
            request.send_response = lambda *_: None
        endless(request)

    server = serve(answer)
    said = error_of(DownloadError, [server.url()], folder, accept)
    assert said == f"cannot download {server.url()}: it is larger than 1,000,000 bytes, so it is none of weights"
    assert kept(folder) == [] and len(server.requests) == 1


def test_a_server_without_ranges_gives_all_again(serve, folder):
    server = serve(give(ARCHIVE, ranges=False, stop=HALF), give(ARCHIVE, ranges=False))
    fetch_folder([server.url()], folder, accept)
    assert content_of(folder) == CONTENT
    assert server.requests[1] == ("/a.tar.gz", f"bytes={HALF}-")


@pytest.mark.parametrize("ranges", [True, False])
def test_what_never_comes_whole_is_an_error_and_the_part_is_kept(serve, folder, ranges, naps):
    server = serve(give(ARCHIVE, stop=HALF, ranges=ranges))
    said = error_of(DownloadError, [server.url()], folder, accept)
    assert said.startswith(f"cannot download {server.url()}: {HALF:,} of {len(ARCHIVE):,} bytes came")
    assert f"; {HALF:,} bytes are kept, and the same command goes on from there" in said
    assert kept(folder) == ["zoo_weights.tar.gz.part"]
    assert len(server.requests) == 1 + download.TRIES and len(naps) == download.TRIES
    server.answers["/a.tar.gz"] = [give(ARCHIVE, ranges=ranges)]
    fetch_folder([server.url()], folder, accept)
    assert server.requests[-1] == ("/a.tar.gz", f"bytes={HALF}-")
    assert content_of(folder) == CONTENT


def test_a_page_instead_of_the_archive(serve, folder):
    server = serve(give(b"<html>Please log in to this network</html>"))
    said = error_of(DownloadError, [server.url()], folder, accept)
    assert said.startswith(f"{server.url()} did not give the weights: it is no whole .tar.gz (")
    assert "it starts with b'<html>Please log in" in said and said.endswith("Nothing was kept.") and "\n" not in said
    assert kept(folder) == [] and len(server.requests) == 1


def test_the_next_url_where_one_has_nothing(serve, folder):
    server = serve(give(ARCHIVE))
    fetch_folder([server.url("/none.tar.gz"), "file:///nowhere/a.tar.gz", server.url()], folder, accept)
    assert [path for path, _ in server.requests] == ["/none.tar.gz", "/a.tar.gz"]
    assert content_of(folder) == CONTENT


def test_no_url_has_it(serve, folder):
    server = serve()
    said = error_of(NotFound, [server.url("/x"), server.url("/y")], folder, accept)
    assert said == f"cannot download {server.url('/y')}: the server says 404 Not Found"
    assert kept(folder) == [] and len(server.requests) == 2


def test_another_refusal_is_no_reason_to_look_elsewhere(serve, folder, naps):
    server = serve(refuse(401), b=[give(ARCHIVE)])
    said = error_of(DownloadError, [server.url(), server.url("/b.tar.gz")], folder, accept)
    assert said == f"cannot download {server.url()}: the server says 401 Unauthorized"
    assert len(server.requests) == 1 and naps == []


def test_a_busy_server_is_asked_again(serve, folder, naps):
    server = serve(refuse(503), refuse(503), give(ARCHIVE))
    fetch_folder([server.url()], folder, accept)
    assert content_of(folder) == CONTENT and len(naps) == 2


def test_a_server_that_stays_busy(serve, folder):
    server = serve(refuse(503))
    said = error_of(DownloadError, [server.url()], folder, accept)
    assert said == f"cannot download {server.url()}: the server says 503 Service Unavailable"
    assert len(server.requests) == download.TRIES and kept(folder) == []


def test_what_is_no_http(serve, folder):
    server = serve(lambda request: request.wfile.write(b"hello\r\n"))
    assert f"cannot download {server.url()}: " in error_of(DownloadError, [server.url()], folder, accept)
    assert kept(folder) == []


def test_no_server(folder, naps):
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/a.tar.gz"
        said = error_of(DownloadError, [url], folder, accept)
    assert said.startswith(f"cannot download {url}: ") and "refused" in said
    assert len(naps) == download.TRIES - 1 and kept(folder) == []


@pytest.mark.parametrize("url", ["/mnt/mirror/a.tar.gz", "mirror.example/a.tar.gz", "http://[bad/a.tar.gz"])
def test_what_is_no_url(folder, url):
    said = error_of(DownloadError, [url], folder, accept)
    assert said.startswith(f"cannot download {url}: ") and "a URL starts with https://" in said


def test_a_cache_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    said = error_of(InputError, ["http://127.0.0.1:9/a.tar.gz"], tmp_path / "file" / "zoo_weights", accept)
    assert said.startswith(f"cannot write to the folder {tmp_path / 'file'}: ")


# What an earlier download left


def test_a_part_that_is_whole_is_not_downloaded_again(serve, folder, part):
    part.write_bytes(ARCHIVE)
    server = serve(give(ARCHIVE))
    fetch_folder([server.url()], folder, accept)
    assert server.requests == [("/a.tar.gz", f"bytes={len(ARCHIVE)}-")]
    assert content_of(folder) == CONTENT and kept(folder) == ["zoo_weights"]


@pytest.mark.parametrize(
    "stale",
    [
        tar_gz({"weights": random.Random(1).randbytes(60_000)})[:HALF],
        b"<html>" * 100,
        ARCHIVE + b"more",
        ARCHIVE + ARCHIVE[:100],
        ARCHIVE[:HALF].replace(ARCHIVE[HALF - 50 : HALF - 40], b"0123456789"),
    ],
    ids=["of another archive", "a page", "more than there is", "more of the same", "damaged"],
)
def test_a_part_of_another_file_costs_one_more_download(serve, folder, part, stale):
    part.write_bytes(stale)
    server = serve(give(ARCHIVE))
    fetch_folder([server.url()], folder, accept)
    assert content_of(folder) == CONTENT and kept(folder) == ["zoo_weights"]
    assert [asked for _, asked in server.requests] == [f"bytes={len(stale)}-", None]


@pytest.mark.parametrize("how", ["refuses to go on", "begins anew"])
def test_a_server_that_never_comes_further_is_given_up(serve, folder, how):
    """Though it gives more than LEAST_BYTES again and again."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        number = len(server.requests)
        if number > 50:
            refuse(404)(request)
        elif how == "begins anew":
            give(ARCHIVE, ranges=False, stop=HALF if number % 2 else HALF - 20_000)(request)
        elif request.headers.get("Range"):
            request.send_response(416)
            request.send_header("Content-Range", "bytes */7")
            request.end_headers()
        else:
            give(ARCHIVE, stop=HALF)(request)

    server = serve(answer)
    said = error_of(DownloadError, [server.url()], folder, accept)
    assert said.startswith(f"cannot download {server.url()}: ") and len(server.requests) == 1 + download.TRIES


def test_a_damage_that_only_the_checksum_shows(serve, folder, part, log):
    archive = tar_gz(CONTENT, level=0)
    stale = bytearray(archive[:30_000])
    stale[20_000] ^= 1  # one bit of a weight
    part.write_bytes(stale)
    fetch_folder([serve(give(archive)).url()], folder, accept)
    assert content_of(folder) == CONTENT
    assert "is damaged; starting again" in log.text


def test_a_damaged_archive_is_an_error(serve, folder, part):
    archive = bytearray(tar_gz(CONTENT, level=0))
    archive[20_000] ^= 1
    part.write_bytes(archive[:100])
    server = serve(give(bytes(archive)))
    said = error_of(DownloadError, [server.url()], folder, accept)
    assert "CRC" in said and said.endswith("Nothing was kept.")
    assert kept(folder) == [] and len(server.requests) == 2


# file: URLs, and what is in the archive


@pytest.fixture
def from_file(tmp_path, folder):
    """Fetches from a file with these bytes."""

    def fetch(data: bytes, check=accept) -> Path:
        (tmp_path / "archive").write_bytes(data)
        return fetch_folder([(tmp_path / "archive").as_uri()], folder, check)

    return fetch


@pytest.mark.parametrize("top", ["", "ResNet50_pretrained/", "./", "./top/"])
def test_a_single_top_folder_is_left_out(from_file, folder, top):
    from_file(tar_gz(CONTENT, top))
    assert content_of(folder) == CONTENT


def test_folders_stay_where_there_is_more_than_one_entry(from_file, folder):
    files = {"a/x": b"1", "a/b/y": b"2", "..dots/z": b"3"}
    from_file(tar_gz(files))
    assert content_of(folder) == files


def test_an_unpacked_tar(from_file, folder, tmp_path):
    with tarfile.open(tmp_path / "plain.tar", "w") as archive:
        archive.add(__file__, "weights")
    from_file((tmp_path / "plain.tar").read_bytes())
    assert content_of(folder) == {"weights": Path(__file__).read_bytes()}


@pytest.mark.parametrize(
    "data",
    [b"", b"no archive", ARCHIVE[:HALF], ARCHIVE[:-1], ARCHIVE[:-8]],
    ids=["empty", "text", "half", "a byte missing", "the checksum missing"],
)
def test_a_file_that_is_no_whole_archive(from_file, folder, data):
    with pytest.raises(DownloadError, match=r"did not give the weights: it is no whole \.tar\.gz .* Nothing was kept"):
        from_file(data)
    assert kept(folder) == []


def test_a_file_that_is_not_there(folder, tmp_path):
    url = (tmp_path / "missing").as_uri()
    assert error_of(NotFound, [url], folder, accept).startswith(f"cannot read {url}: ")
    assert error_of(NotFound, [tmp_path.as_uri()], folder, accept).startswith("cannot read ")


def test_an_archive_that_unpacks_to_more_than_weights(from_file, folder, monkeypatch):
    monkeypatch.setattr(archives, "_FREE_BYTES", 1 << 20)
    with pytest.raises(DownloadError, match="its content is larger than 1,[0-9,]+ bytes, .* Nothing was kept"):
        from_file(tar_gz({"weights": bytes(3 << 20)}))
    assert kept(folder) == []


def test_content_that_fails_the_check(from_file, folder):
    def check(made: Path) -> None:
        assert content_of(made) == CONTENT
        assert not folder.exists()
        raise InputError("no conv1_weights")

    with pytest.raises(DownloadError, match="did not give the weights: no conv1_weights. Nothing was kept"):
        from_file(ARCHIVE, check)
    assert kept(folder) == []


def evil(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


EVIL = {
    "parent": lambda outside: [evil("../x")],
    "parent deeper": lambda outside: [evil("a/../../x")],
    "backslash": lambda outside: [evil("..\\x")],
    "absolute": lambda outside: [evil(f"{outside}/x")],
    "absolute folder": lambda outside: [evil(f"{outside}/x", tarfile.DIRTYPE)],
    "symlink": lambda outside: [evil("x", tarfile.SYMTYPE, str(outside))],
    "symlink inside": lambda outside: [evil("x", tarfile.SYMTYPE, "good")],
    "through a symlink": lambda outside: [evil("d", tarfile.SYMTYPE, str(outside)), evil("d/x")],
    "hard link": lambda outside: [evil("x", tarfile.LNKTYPE, f"{outside}/secret")],
    "hard link inside": lambda outside: [evil("x", tarfile.LNKTYPE, "good")],
    "device": lambda outside: [evil("x", tarfile.CHRTYPE)],
    "block device": lambda outside: [evil("x", tarfile.BLKTYPE)],
    "pipe": lambda outside: [evil("x", tarfile.FIFOTYPE)],
    "zero in the name": lambda outside: [pax("a\0b")],
    "a file as a folder": lambda outside: [evil("good/x")],
}


def pax(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo("plain")
    info.pax_headers = {"path": name}
    return info


@pytest.mark.parametrize("case", EVIL)
def test_an_archive_that_wants_to_write_elsewhere(from_file, folder, tmp_path, case):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        good = tarfile.TarInfo("good")
        good.size = 4
        archive.addfile(good, io.BytesIO(b"good"))
        for member in EVIL[case](outside):
            archive.addfile(member)
    with pytest.raises(DownloadError, match="Nothing was kept"):
        from_file(buffer.getvalue())
    assert kept(folder) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "cache", "outside"]
    assert content_of(outside) == {"secret": b"secret"}
    assert (outside / "secret").stat().st_nlink == 1


# Two at once

FETCH = """
import sys
from pathlib import Path
from video_zoo.utils.download import fetch_folder
from video_zoo.utils.log import set_up_logging
set_up_logging()
print(sorted(path.name for path in fetch_folder([sys.argv[1]], Path(sys.argv[2]), lambda made: None).iterdir()))
"""


def test_two_processes_download_once(serve, folder):
    asked, go_on = threading.Event(), threading.Event()

    def slow(request):
        asked.set()
        go_on.wait(60)
        give(ARCHIVE)(request)

    server = serve(slow)
    command = [sys.executable, "-c", FETCH, server.url(), str(folder)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "env": dict(os.environ)}
    processes = [subprocess.Popen(command, cwd=ROOT, **pipes)]
    try:
        assert asked.wait(60)
        processes.append(subprocess.Popen(command, cwd=ROOT, **pipes))
        assert "another process is downloading zoo_weights; waiting for it" in processes[1].stdout.readline()
        go_on.set()
        for process in processes:
            out, _ = process.communicate(timeout=60)
            assert process.returncode == 0, out
            assert out.splitlines()[-1] == "['bias', 'weights']"
    finally:
        go_on.set()
        for process in processes:
            process.kill()
            process.communicate()
    assert len(server.requests) == 1
    assert content_of(folder) == CONTENT and kept(folder) == ["zoo_weights"]
