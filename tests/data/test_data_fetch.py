"""Downloads against a real HTTP server on the loopback address."""

import dataclasses
import errno
import gzip
import hashlib
import io
import socket
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from synsim.data import DataNotFoundError, DownloadError, fetch, load, stored
from synsim.data.find import CIFAR_FILES, IDX_FILES
from synsim.data.sources import SOURCES, Archive, Files

NAME = "images.gz"
CONTENT = bytes(range(256)) * 4000
PACKED = gzip.compress(CONTENT, mtime=0)
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()
WRONG = gzip.compress(b"something else", mtime=0)


@dataclasses.dataclass
class Answer:
    body: bytes
    status: int = 200
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    sent: int | None = None  # bytes really sent, if fewer than announced
    go_on: threading.Event | None = None  # waited for when half is sent
    announced: bool = True


class Server:
    """Answers each path as told, and remembers what it was asked for."""

    def __init__(self):
        self.answers, self.asked, self.encodings, self.half = {}, [], [], threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.path)
                outer.encodings.append(self.headers["Accept-Encoding"])
                answer = outer.answers.get(self.path, Answer(b"", 404))
                self.send_response(answer.status)
                if answer.announced:
                    self.send_header("Content-Length", str(len(answer.body)))
                for header in answer.headers.items():
                    self.send_header(*header)
                self.end_headers()
                body = answer.body[: answer.sent]
                self.wfile.write(body[: len(body) // 2])
                self.wfile.flush()
                outer.half.set()
                if answer.go_on is not None:
                    answer.go_on.wait(20)
                self.wfile.write(body[len(body) // 2 :])

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def offer(self, mirror, body, status=200, name=NAME, **how):
        self.answers[f"/{mirror}/{name}"] = Answer(body, status, **how)
        return f"{self.url}/{mirror}/"

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def server(monkeypatch):
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(variable, "127.0.0.1")
    made = Server()
    yield made
    made.close()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the one file of a small data set, which stands in for MNIST here, is put."""
    monkeypatch.setitem(SOURCES, "mnist", Files("mnist", ("http://127.0.0.1:1/never/",), {NAME: CHECKSUM}))
    return tmp_path / "mnist"


def get(folder, *mirrors):
    return fetch("mnist", folder.parent, mirrors=mirrors, progress=False)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_good_file(server, folder):
    assert get(folder, server.offer("good", PACKED)) == folder.parent
    assert (folder / NAME).read_bytes() == PACKED
    assert names(folder) == [NAME]
    assert server.encodings == ["identity"]  # else Content-Length may count other bytes than those that are kept


def test_a_file_has_the_usual_permissions(server, folder, tmp_path):
    get(folder, server.offer("good", PACKED))
    (tmp_path / "usual").touch()
    assert (folder / NAME).stat().st_mode == (tmp_path / "usual").stat().st_mode


@pytest.mark.parametrize(
    "how",
    [
        {"body": gzip.compress(CONTENT, compresslevel=1)},
        {"body": CONTENT},
        {"body": PACKED, "headers": {"Content-Encoding": "gzip"}},
        {"body": PACKED, "announced": False},
    ],
    ids=["packed otherwise", "unpacked", "unpacked on the way", "length unknown"],
)
def test_what_counts_is_the_content_not_how_it_came(server, folder, how):
    get(folder, server.offer("good", **how))
    assert stored.digest(folder / NAME, len(CONTENT)) == CHECKSUM
    assert names(folder) == [NAME]


def test_the_content_that_is_there_is_not_asked_for(server, folder):
    mirror = server.offer("good", PACKED)
    get(folder, mirror)
    get(folder, mirror)
    assert server.asked == ["/good/" + NAME]


def test_an_unpacked_file_that_is_there_will_do(server, folder):
    folder.mkdir()
    (folder / "images").write_bytes(CONTENT)
    get(folder, server.offer("good", PACKED))
    assert server.asked == []


@pytest.mark.parametrize("body", [b"not it", WRONG, PACKED[:1000], b""], ids=["text", "other", "truncated", "empty"])
def test_a_wrong_file_that_is_there_is_reported_and_replaced(server, folder, body):
    folder.mkdir()
    (folder / NAME).write_bytes(body)
    mirror = server.offer("good", PACKED)
    with pytest.warns(UserWarning, match=rf"{NAME} is not the original file \(.*fetched again") as caught:
        get(folder, mirror)
    assert caught[0].filename == __file__.replace(".pyc", ".py")
    assert (folder / NAME).read_bytes() == PACKED
    assert names(folder) == [NAME]


def test_a_wrong_unpacked_file_is_reported_and_outdone(server, folder):
    folder.mkdir()
    (folder / "images").write_bytes(b"not it")
    mirror = server.offer("good", PACKED)
    with pytest.warns(UserWarning, match="images is not the original file .* read instead"):
        get(folder, mirror)
    get(folder, mirror)
    assert len(server.asked) == 1


def test_a_failure_leaves_the_file_that_was_there(server, folder):
    folder.mkdir()
    (folder / NAME).write_bytes(WRONG)
    mirror = server.offer("bad", PACKED, sent=500)
    with pytest.warns(UserWarning, match="not the original"), pytest.raises(DownloadError):
        get(folder, mirror)
    assert (folder / NAME).read_bytes() == WRONG
    assert names(folder) == [NAME]


def test_mirrors_are_tried_in_order_until_one_is_good(server, folder):
    mirrors = [
        server.offer("gone", b"", 404),
        server.offer("short", PACKED, sent=100),
        server.offer("other", WRONG),
        server.offer("good", PACKED),
        server.offer("spare", PACKED),
    ]
    get(folder, *mirrors)
    assert server.asked == [f"/{mirror}/{NAME}" for mirror in ("gone", "short", "other", "good")]
    assert names(folder) == [NAME]


def test_every_mirror_that_failed_is_listed(server, folder):
    mirrors = [server.offer("gone", b"", 404), server.offer("other", WRONG)]
    with pytest.raises(DownloadError) as caught:
        get(folder, *mirrors)
    lines = str(caught.value).splitlines()
    assert "gone" in lines[1]
    assert "404" in lines[1]
    assert "other" in lines[2]
    assert "SHA-256" in lines[2]
    assert str(folder) in lines[3]
    assert "mirrors=" in lines[3]


def test_a_server_that_is_not_there(server, folder):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound but not listening: nothing else can take the port meanwhile
        with pytest.raises(DownloadError, match="Connection refused"):
            get(folder, f"http://127.0.0.1:{unused.getsockname()[1]}/")
    assert names(folder) == []


def test_the_reason_is_the_servers_whatever_the_caller_is_handling(server, folder, tmp_path):
    mirror = server.offer("bad", PACKED, sent=500)
    try:
        load("mnist", tmp_path)
    except DataNotFoundError:
        with pytest.raises(DownloadError, match="more expected"):
            get(folder, mirror)
    assert server.asked


def test_a_server_that_falls_silent_is_given_up(server, folder, monkeypatch):
    monkeypatch.setattr("synsim.data.transfer.TIMEOUT", (5.0, 0.2))
    go_on = threading.Event()
    mirrors = [server.offer("stuck", PACKED, go_on=go_on), server.offer("good", PACKED)]
    try:
        get(folder, *mirrors)
    finally:
        go_on.set()
    assert names(folder) == [NAME]


class StandIn:
    """A response of requests that yields these chunks, or raises those that are errors."""

    status_code, reason = 200, "OK"

    def __init__(self, announced, chunks):
        self.headers, self.chunks = {"Content-Length": str(announced)}, chunks

    def iter_content(self, size):
        for chunk in self.chunks:
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk

    def raise_for_status(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


def test_a_short_body_is_noticed_where_the_transport_does_not(folder, monkeypatch):
    monkeypatch.setattr(requests, "get", lambda *a, **k: StandIn(len(CONTENT), [CONTENT[:-1]]))
    with pytest.raises(DownloadError, match=f"truncated: {len(CONTENT) - 1} of {len(CONTENT)} bytes arrived"):
        get(folder, "http://127.0.0.1/")
    assert names(folder) == []


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_what_is_no_mirrors_fault_ends_the_download(folder, monkeypatch, error):
    asked = []

    def answer(url, **how):
        asked.append(url)
        return StandIn(len(CONTENT), [CONTENT[:1000], error])

    monkeypatch.setattr(requests, "get", answer)
    with pytest.raises(type(error)) as caught:
        get(folder, "http://127.0.0.1/a/", "http://127.0.0.1/b/")
    assert caught.value is error
    assert len(asked) == 1
    assert names(folder) == []


@pytest.mark.parametrize("before", [None, WRONG], ids=["nothing there", "a wrong file there"])
@pytest.mark.filterwarnings("ignore:.*is not the original file")
def test_a_reader_never_sees_half_a_file(server, folder, before):
    folder.mkdir()
    target = folder / NAME
    if before is not None:
        target.write_bytes(before)
    go_on, done, seen = threading.Event(), threading.Event(), []

    def look():
        try:
            return target.read_bytes()
        except FileNotFoundError:
            return None

    def watch():
        while not done.is_set():
            seen.append(look())
        seen.append(look())

    threads = [threading.Thread(target=get, args=(folder, server.offer("slow", PACKED, go_on=go_on)))]
    threads.append(threading.Thread(target=watch))
    for thread in threads:
        thread.start()
    try:
        assert server.half.wait(20)
        assert look() == before  # half has been sent, and the name still stands for what it stood for
        go_on.set()
        threads[0].join(20)
    finally:
        go_on.set()
        done.set()
        threads[1].join(20)
    assert {before, PACKED} == set(seen)
    assert seen[-1] == PACKED


def test_two_downloads_at_once_do_not_meet(server, folder):
    mirror = server.offer("good", PACKED)
    threads = [threading.Thread(target=get, args=(folder, mirror)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert (folder / NAME).read_bytes() == PACKED
    assert names(folder) == [NAME]


@pytest.mark.parametrize("progress", [True, False])
def test_progress_is_shown_or_not(server, folder, capsys, monkeypatch, progress):
    monkeypatch.setattr("synsim._progress.drawable", lambda: True)  # a download this short writes no line into a file
    fetch("mnist", folder.parent, mirrors=[server.offer("good", PACKED)], progress=progress)
    shown = capsys.readouterr()
    assert (NAME in shown.err) == progress
    assert shown.out == ""


@pytest.mark.parametrize("mirrors", [[], "http://127.0.0.1/", [None], range(2)])
def test_mirrors_that_are_no_list_are_refused(tmp_path, mirrors):
    with pytest.raises(ValueError, match=r"mirrors must be a (list of base addresses|sequence of text)"):
        fetch("mnist", tmp_path, mirrors=mirrors)


def test_without_a_root_the_folder_of_the_environment_is_used(server, folder, monkeypatch):
    monkeypatch.setenv("SYNSIM_DATA", str(folder.parent))
    assert fetch("mnist", mirrors=[server.offer("good", PACKED)], progress=False) == folder.parent
    assert names(folder) == [NAME]


def test_names():
    with pytest.raises(ValueError, match="unknown data set 'imagenet'"):
        fetch("imagenet")


def test_digits_need_no_download(tmp_path):
    assert fetch("digits", tmp_path, mirrors=["http://127.0.0.1:1/"]) == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_the_mirrors_and_files_are_those_that_load_looks_for():
    for name in ("mnist", "fashion-mnist"):
        source = SOURCES[name]
        assert source.folder == name
        assert list(source.sha256) == [f"{file}.gz" for file in IDX_FILES]
        assert all(len(bytes.fromhex(checksum)) == 32 for checksum in source.sha256.values())
    assert tuple(SOURCES["cifar10"].members.values()) == CIFAR_FILES


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """A CIFAR-10 archive of six images."""
    packed, contents = io.BytesIO(), {}
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for label, file in enumerate((*CIFAR_FILES, "../outside.bin")):
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{file}")
            contents[file] = bytes([label]) + bytes(range(256)) * 12
            info.size = 3073
            archive.addfile(info, io.BytesIO(contents[file]))
    body = packed.getvalue()
    source = dataclasses.replace(SOURCES["cifar10"], md5=hashlib.md5(body, usedforsecurity=False).hexdigest())
    assert isinstance(source, Archive)
    monkeypatch.setitem(SOURCES, "cifar10", source)
    return tmp_path, body


def get_cifar(root, server, body, **how):
    mirror = server.offer("cifar", body, name="cifar-10-binary.tar.gz", **how)
    return fetch("cifar10", root, mirrors=[mirror], progress=False)


CIFAR_THERE = sorted([*CIFAR_FILES, "checksums.sha256"])


def test_an_archive_is_unpacked_and_not_asked_for_again(server, cifar):
    root, body = cifar
    assert get_cifar(root, server, body) == root
    get_cifar(root, server, body)
    assert len(server.asked) == 1
    assert names(root) == ["cifar-10-batches-bin"]
    assert names(root / "cifar-10-batches-bin") == CIFAR_THERE
    data = load("cifar10", root)
    assert data.y_train.tolist() == [0, 1, 2, 3, 4]
    assert data.y_test.tolist() == [5]


@pytest.mark.parametrize(
    ("unnoted", "why"), [(False, "differ from checksums.sha256"), (True, "have no checksums.sha256")]
)
def test_a_changed_file_of_an_archive_is_reported_and_replaced(server, cifar, unnoted, why):
    root, body = cifar
    get_cifar(root, server, body)
    changed = root / "cifar-10-batches-bin" / "data_batch_2.bin"
    whole = changed.read_bytes()
    changed.write_bytes(whole[:-1])
    if unnoted:
        (changed.parent / "checksums.sha256").unlink()
    with pytest.warns(UserWarning, match=f"data_batch_2.bin.* {why}"):
        get_cifar(root, server, body)
    assert changed.read_bytes() == whole
    assert names(changed.parent) == CIFAR_THERE


def test_a_missing_file_of_an_archive_is_fetched(server, cifar):
    root, body = cifar
    get_cifar(root, server, body)
    (root / "cifar-10-batches-bin" / "test_batch.bin").unlink()
    get_cifar(root, server, body)
    assert names(root / "cifar-10-batches-bin") == CIFAR_THERE
