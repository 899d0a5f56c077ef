"""Servers that do what they should not: what each of them plays, and how that is called."""

import gzip
import hashlib
import io
import socket
import socketserver
import struct
import tarfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from synsim.data import download, transfer
from synsim.data.find import CIFAR_FILES

NAME, ARCHIVE = "images.gz", "cifar-10-binary.tar.gz"
CONTENT = b"".join(hashlib.sha256(bytes([k])).digest() for k in range(256)) * 8
PACKED = gzip.compress(CONTENT, mtime=0)
CHECKSUM = hashlib.sha256(CONTENT).hexdigest()
OTHER = gzip.compress(b"something else", mtime=0)


class Server(socketserver.ThreadingTCPServer):
    """Plays what it is told to on the bare connection, once a request has come."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        self.plays: dict[str, Callable[[socket.socket], None]] = {}
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Connection)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def handle_error(self, *details):
        pass


class Connection(socketserver.BaseRequestHandler):
    def handle(self):
        self.request.settimeout(20)
        said = b""
        while b"\r\n\r\n" not in said:
            more = self.request.recv(4096)
            if not more:
                return
            said += more
        path = said.split()[1].decode()
        self.server.asked.append(path)
        self.server.plays[path.split("/")[1]](self.request)


def answer(body=PACKED, status="200 OK", length=True, **headers):
    """Plays an answer as it should be but for what is given."""
    lines = [f"HTTP/1.1 {status}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if length:
        lines.append(f"Content-Length: {len(body) if length is True else length}")
    return raw("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def raw(*parts, wait=0.0, times=1):
    def play(line):
        for _ in range(times):
            for part in parts:
                line.sendall(part)
                time.sleep(wait)

    return play


def then(*plays):
    def play(line):
        for each in plays:
            each(line)

    return play


def reset(line):
    line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()


def silence(line):
    time.sleep(transfer.TIMEOUT[1] + 1)


HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\n"
LONG = HEAD + b"Content-Length: 1000000\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
FOREVER = 10**9


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def bomb(line):
    file = io.BytesIO()
    with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) as packed:
        for _ in range(download.LARGEST // 2**18):
            packed.write(bytes(2**20))
    answer(file.getvalue())(line)


# What a server may do -> how that is called.
PLAYED = {
    "not there": (answer(b"", "404 Not Found"), "HTTP 404 Not Found"),
    "forbidden": (answer(b"", "403 Forbidden"), "HTTP 403 Forbidden"),
    "gone": (answer(b"", "410 Gone"), "HTTP 410 Gone"),
    "too many requests": (answer(b"", "429 Too Many Requests"), "HTTP 429"),
    "fault of the server": (answer(b"oh", "500 Internal Server Error"), "HTTP 500"),
    "busy": (answer(b"busy", "503 Service Unavailable"), "HTTP 503 Service Unavailable"),
    "an odd status": (answer(PACKED, "799 Odd"), "HTTP 799 Odd"),
    "no content": (answer(b"", "204 No Content", length=False), "SHA-256"),
    "a part": (answer(PACKED[:900], "206 Partial Content"), "truncated or damaged"),
    "not modified": (answer(b"", "304 Not Modified", length=False), "HTTP 304"),
    "moved to nowhere": (answer(b"", "302 Found"), "HTTP 302 Found, without another address"),
    "moved to itself": (answer(b"", "302 Found", Location="/moved%20to%20itself/images.gz"), "30 redirects"),
    "moved to a file": (answer(b"", "301 Moved", Location="file:///etc/passwd"), "file:///etc/passwd"),
    "moved to a dead port": (answer(b"", "302 Found", Location="http://127.0.0.1:1/"), "Connection refused"),
    "moved to no address": (answer(b"", "302 Found", Location="http://[1:/x"), "Invalid|Failed to parse|valid"),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.2\r\n" * 3), "SSH-2.0"),
    "a newer HTTP": (raw(b"HTTP/3.7 200 OK\r\n\r\n"), "HTTP/3.7"),
    "a broken status": (raw(b"HTTP/1.1 OK\r\n\r\n"), "HTTP/1.1 OK"),
    "hung up at once": (raw(), "closed|aborted|disconnected|without response"),
    "hung up in its head": (raw(b"HTTP/1.1 20"), "HTTP/1.1 20|closed|aborted"),
    "endless heads": (raw(HEAD, *[b"X-%d: 1\r\n" % k for k in range(2000)]), "more than 100 headers"),
    "a head too long": (raw(HEAD, b"X: " + b"a" * 100_000), "header line|line too long|65536"),
    "reset at once": (reset, "reset by peer"),
    "reset within": (then(raw(LONG + PACKED), reset), "truncated: .*(reset by peer|more expected)"),
    "silent at once": (silence, "timed out"),
    "silent within": (then(raw(LONG + PACKED[:100]), silence), "timed out"),
    "cut": (answer(PACKED[:500], length=len(PACKED)), rf"truncated: .*500 bytes read, {len(PACKED) - 500} more"),
    "cut, length unknown": (answer(PACKED[:500], length=False), "truncated or damaged: Compressed file ended"),
    "cut to the first bytes": (answer(PACKED[:5]), "truncated or damaged: Compressed file ended"),
    "announced too short": (answer(PACKED, length=700), "truncated or damaged: Compressed file ended"),
    "nothing": (answer(b""), f"SHA-256 of its content: expected {CHECKSUM}, got"),
    "a length of text": (answer(PACKED, length="many"), "invalid literal|many"),
    "a length below 0": (answer(OTHER, length=-5), "SHA-256"),
    "two lengths": (answer(PACKED, length="5, 7"), "5, 7|invalid literal"),
    "a terabyte announced": (answer(b"", length=2**40), "1,099,511,627,776 bytes are announced, and at most"),
    "endless": (raw(HEAD + b"\r\n", *[bytes(2**16)] * 4, times=FOREVER), "more than [0-9,]+ bytes came"),
    "endless chunks": (then(raw(CHUNKED), raw(chunk(bytes(2**16)), times=FOREVER)), "more than [0-9,]+ bytes came"),
    "dripping": (then(raw(LONG), raw(b"\0", wait=0.1, times=FOREVER)), "too slow: 0 bytes arrived in"),
    "a dripping head": (then(raw(HEAD), raw(b"X", wait=0.1, times=FOREVER)), "too slow: 0 bytes arrived in"),
    "dripping chunks": (then(raw(CHUNKED), raw(chunk(b"ab"), wait=0.1, times=FOREVER)), "too slow: [0-9,]+ bytes"),
    "garbage between chunks": (
        raw(CHUNKED, chunk(PACKED[:90]), b"what\r\n"),
        "truncated: .*(what|IncompleteRead|Inva)",
    ),
    "chunks cut": (raw(CHUNKED, chunk(PACKED[:90])), "truncated: "),
    "a chunk cut": (raw(CHUNKED, chunk(PACKED)[:90]), "truncated: "),
    "an encoding that is none": (answer(PACKED[20:], Content_Encoding="gzip"), "decode|incorrect header"),
    "an encoding cut": (answer(gzip.compress(PACKED)[:900], Content_Encoding="gzip"), "truncated or damaged"),
    "another file": (answer(OTHER), f"expected {CHECKSUM}, got {hashlib.sha256(b'something else').hexdigest()}"),
    "a login page": (answer(b"<html>log in</html>"), f"expected {CHECKSUM}, got"),
    "a pointer": (answer(b"version https://git-lfs.github.com/spec/v1\n"), f"expected {CHECKSUM}, got"),
    "packed twice": (answer(gzip.compress(PACKED)), f"expected {CHECKSUM}, got {hashlib.sha256(PACKED).hexdigest()}"),
    "a bit flipped": (answer(PACKED[:2000] + bytes([PACKED[2000] ^ 1]) + PACKED[2001:]), "truncated or damaged: "),
    "another check sum": (answer(PACKED[:-8] + bytes(4) + PACKED[-4:]), "truncated or damaged: CRC check failed"),
    "bytes behind": (answer(PACKED + b"<!-- proxy -->"), "truncated or damaged: Not a gzipped file"),
    "ends of lines": (answer(PACKED.replace(b"\n", b"\r\n")), "truncated or damaged: "),
    "unpacked and longer": (answer(CONTENT + b"\n"), f"expected {CHECKSUM}, got"),
    "a bomb": (bomb, "expected at most [0-9,]+ bytes, but it unpacks to more"),
}


def archive(**changes):
    """An archive in which members are changed: other contents, or functions that make something else of the member."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as made:
        for label, name in enumerate(CIFAR_FILES):
            info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            data = bytes([label]) + bytes(3072)
            info.size = len(data)
            change = changes.get(name.removesuffix(".bin"))
            if change is not None:
                change(info)
            made.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return file.getvalue()


def renamed(info):
    info.name = f"../../{Path(info.name).name}"


def absolute(info):
    info.name = "/tmp/data_batch_3.bin"


def linked(info):
    info.type, info.linkname, info.size = tarfile.SYMTYPE, "../../../../etc/passwd", 0


def hard(info):
    info.type, info.linkname, info.size = tarfile.LNKTYPE, "/etc/passwd", 0


def pipe(info):
    info.type, info.size = tarfile.FIFOTYPE, 0


def folder(info):
    info.type, info.size = tarfile.DIRTYPE, 0


LACKING = r"the archive has no file cifar-10-batches-bin/data_batch_3\.bin of at most"

# What may be in an archive whose checksum is right, and what may become of one.
ARCHIVES = {
    "a member with a path": (answer(archive(data_batch_3=renamed)), LACKING),
    "a member at the root": (answer(archive(data_batch_3=absolute)), LACKING),
    "a link for a member": (answer(archive(data_batch_3=linked)), LACKING),
    "a hard link for a member": (answer(archive(data_batch_3=hard)), LACKING),
    "a pipe for a member": (answer(archive(data_batch_3=pipe)), LACKING),
    "a folder for a member": (answer(archive(data_batch_3=folder)), LACKING),
}
DAMAGED = {
    "an archive cut": (answer(archive()[:100], length=len(archive())), "truncated: "),
    "an archive cut, length unknown": (answer(archive()[:100], length=False), "MD5: expected .*, got "),
    "another archive": (answer(archive(data_batch_3=renamed)), "MD5: expected .*, got "),
    "no archive": (answer(b"<html>"), "MD5: expected .*, got "),
}


def sent(play):
    class Line(list):
        sendall = list.append

    line = Line()
    play(line)
    return b"".join(line).partition(b"\r\n\r\n")[2]
