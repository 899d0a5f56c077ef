"""Downloads against a real HTTP server on the loopback address."""

import gzip
import hashlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from synsim.data import DownloadError, fetch
from synsim.data.download import Source

CONTENT = bytes(range(256)) * 4000
PACKED = gzip.compress(CONTENT, mtime=0)


class Server:
    """Serves what `answers` says: path -> (status, body, bytes really sent)."""

    def __init__(self):
        self.answers, self.asked = {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                status, body, sent = outer.answers.get(self.path, (404, b"", 0))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                for start in range(0, sent, 1 << 12):
                    self.wfile.write(body[start : min(sent, start + (1 << 12))])
                    time.sleep(0.001)

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def offer(self, mirror, body, status=200, sent=None):
        self.answers[f"/{mirror}/file.gz"] = (status, body, len(body) if sent is None else sent)
        return f"{self.url}/{mirror}/"

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server():
    made = Server()
    yield made
    made.close()


def source(*mirrors):
    return Source(tuple(mirrors), {"file.gz": ("mine/file.gz", hashlib.sha256(CONTENT).hexdigest())})


def get(root, *mirrors, **options):
    return fetch("mine", root, source=source(*mirrors), progress=False, **options)


def names(root):
    return sorted(path.name for path in (root / "mine").iterdir())


def test_a_good_file(server, tmp_path):
    get(tmp_path, server.offer("good", PACKED))
    assert gzip.decompress((tmp_path / "mine" / "file.gz").read_bytes()) == CONTENT
    assert names(tmp_path) == ["file.gz"]


def test_what_counts_is_the_content_not_how_it_was_packed(server, tmp_path):
    get(tmp_path, server.offer("good", gzip.compress(CONTENT, compresslevel=1)))
    assert names(tmp_path) == ["file.gz"]


def test_a_file_that_is_there_is_not_asked_for(server, tmp_path):
    mirror = server.offer("good", PACKED)
    get(tmp_path, mirror)
    get(tmp_path, mirror)
    assert len(server.asked) == 1


def test_a_wrong_file_that_is_there_is_replaced_and_said(server, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file.gz").write_bytes(b"not it")
    get(tmp_path, server.offer("good", PACKED))
    assert "fetching it again" in capsys.readouterr().out
    assert (tmp_path / "mine" / "file.gz").read_bytes() == PACKED


@pytest.mark.parametrize(
    ("body", "status", "sent", "reason"),
    [
        (PACKED, 200, len(PACKED) // 2, "IncompleteRead|ChunkedEncodingError|ConnectionError|damaged"),
        (gzip.compress(b"something else"), 200, None, "sha256 of the content is .*, expected"),
        (b"not gzip at all", 200, None, "damaged"),
        (b"", 404, None, "404"),
    ],
    ids=["truncated", "wrong checksum", "no gzip", "404"],
)
def test_a_bad_mirror_leaves_nothing_and_says_why(server, tmp_path, body, status, sent, reason):
    with pytest.raises(DownloadError, match=reason) as caught:
        get(tmp_path, server.offer("bad", body, status, sent))
    assert f"{server.url}/bad/file.gz" in str(caught.value)
    assert names(tmp_path) == []


def test_a_bad_mirror_then_a_good_one(server, tmp_path):
    mirrors = [server.offer("gone", b"", 404), server.offer("short", PACKED, sent=100), server.offer("good", PACKED)]
    get(tmp_path, *mirrors)
    assert server.asked == ["/gone/file.gz", "/short/file.gz", "/good/file.gz"]
    assert names(tmp_path) == ["file.gz"]


def test_a_server_that_is_not_there(tmp_path):
    with pytest.raises(DownloadError, match="ConnectionError"):
        get(tmp_path, "http://127.0.0.1:9/")


def test_a_reader_never_sees_half_a_file(server, tmp_path):
    mirror, target = server.offer("good", PACKED), tmp_path / "mine" / "file.gz"
    seen, done = [], threading.Event()

    def watch():
        while not done.is_set():
            if target.exists():
                seen.append(target.read_bytes() == PACKED)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        get(tmp_path, mirror)
        time.sleep(0.05)
    finally:
        done.set()
        watcher.join()
    assert seen
    assert all(seen)


def test_unknown_data_sets():
    with pytest.raises(ValueError, match="unknown data set"):
        fetch("imagenet")
