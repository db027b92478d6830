"""A hub on loopback: serves small repositories as the Hugging Face hub does, and can fail."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

LARGE = (
    ".safetensors",
    ".parquet",
    ".bin",
)  # what the hub keeps apart from git, known by its SHA-256
REVISION = "1" * 40
CONVERTED = "refs/convert/parquet"  # the branch that the hub makes of a dataset
COMMIT = "c" * 40  # its head
TOKEN = "hf_of_one_who_has_accepted"


@dataclass
class Fault:
    """What goes wrong with a file.

    Attributes:
        status, code: answered instead of the file.
        cut: bytes after which the connection breaks.
        stall: bytes after which nothing more comes until `go` is set.
        wrong: the last byte is another one.
        times: how many answers it spoils.
    """

    status: int | None = None
    code: str = ""
    cut: int | None = None
    stall: int | None = None
    wrong: bool = False
    times: int = 1
    stalled: threading.Event = field(default_factory=threading.Event)
    go: threading.Event = field(default_factory=threading.Event)


@dataclass
class Answer:
    """A request for a file's content, and how many bytes of it went out."""

    path: str
    start: int
    sent: int = 0


class Hub:
    """Repositories, what goes wrong with them, and what was asked for.

    Attributes:
        repositories: ("models" or "datasets", id) -> path -> content.
        revisions: the commit of a repository; `REVISION` if it is not here.
        conversions: what the branch `CONVERTED` of a dataset holds.
        gated: ids of repositories whose files are for those who have accepted their terms.
        claims: path in a repository -> its size, as the hub announces it.
        faults: path in a repository -> what goes wrong.
        requests: all requests, in their order.
        answers: those for the content of files.
    """

    def __init__(self, address: str):
        self.address = address
        self.repositories: dict[tuple[str, str], Mapping[str, bytes]] = {}
        self.revisions: dict[tuple[str, str], str] = {}
        self.conversions: dict[str, Mapping[str, bytes]] = {}
        self.gated: set[str] = set()
        self.claims: dict[str, int] = {}
        self.faults: dict[str, Fault] = {}
        self.requests: list[str] = []
        self.answers: list[Answer] = []

    def variables(self) -> dict[str, str]:
        """The environment of a command that is to ask this hub."""
        return {
            "HF_ENDPOINT": self.address,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DOWNLOAD_TIMEOUT": "60",  # of a busy machine; who stalls is not given up
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
            "no_proxy": "127.0.0.1",
        }

    def forget(self) -> None:
        """Begins to count anew."""
        self.requests.clear()
        self.answers.clear()

    def served(self, path: str) -> int:
        """Bytes of a file that went out."""
        return sum(answer.sent for answer in self.answers if answer.path == path)

    def fault(self, path: str) -> Fault:
        fault = self.faults.get(path)
        if fault is None or fault.times == 0:
            return Fault()
        fault.times -= 1
        return fault


@contextmanager
def serving() -> Iterator[Hub]:
    """A hub for as long as the context lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.hub
    finally:
        for fault in server.hub.faults.values():
            fault.go.set()
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    COMMIT = r"(refs/[^/]+/[^/]+|[^/]+)"
    FILE = re.compile(rf"(/elsewhere)?/(?:(datasets)/)?([^/]+/[^/]+)/resolve/{COMMIT}/(.+)")
    API = re.compile(
        rf"/api/(models|datasets)/([^/]+/[^/]+)/(revision|tree|paths-info)/{COMMIT}/?(.*)"
    )

    def log_message(self, *arguments: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = unquote(urlsplit(self.path).path)
        self.server.hub.requests.append(f"{self.command} {path}")
        if found := self.API.fullmatch(path):
            kind, repository, what, revision, inside = found.groups()
            files = self._files(kind, repository, revision)
            if files is not None and what == "revision":
                sha = COMMIT if revision in (CONVERTED, COMMIT) else revision
                self._json(
                    {
                        "id": repository,
                        "sha": sha,
                        "siblings": _siblings(files, self.server.hub.claims),
                    }
                )
            elif files is not None:
                wanted = parse_qs(body.decode()).get("paths") or json.loads(body or "{}").get(
                    "paths"
                )
                self._json(_entries(files, inside, wanted))
        elif found := self.FILE.fullmatch(path):
            elsewhere, kind, repository, revision, name = found.groups()
            files = self._files(kind or "models", repository, revision)
            if files is not None and self._closed(repository):
                self._refuse(401, "GatedRepo")
            elif files is not None and name.endswith(LARGE) and name in files and not elsewhere:
                self._send_to(f"/elsewhere{path}")  # as the hub does, to what stores large files
            elif files is not None and name in files:
                self._file(name, files[name], revision)
            elif files is not None:
                self._refuse(404, "EntryNotFound")
        else:
            self._refuse(404, "RepoNotFound")

    def _files(self, kind: str, repository: str, revision: str) -> Mapping[str, bytes] | None:
        hub = self.server.hub
        files = hub.repositories.get((kind, repository))
        if revision in (CONVERTED, COMMIT) and repository in hub.conversions:
            return hub.conversions[repository]
        if files is None or revision != hub.revisions.get((kind, repository), REVISION):
            self._refuse(404, "RepoNotFound" if files is None else "RevisionNotFound")
            return None
        return files

    def _closed(self, repository: str) -> bool:
        accepted = self.headers.get("Authorization") == f"Bearer {TOKEN}"
        return repository in self.server.hub.gated and not accepted

    def _refuse(self, status: int, code: str = "") -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send_to(self, place: str) -> None:
        self.send_response(302)
        self.send_header("Location", place)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _json(self, data: object) -> None:
        content = json.dumps(data).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _file(self, name: str, content: bytes, commit: str) -> None:
        hub = self.server.hub
        fault = hub.fault(name) if self.command == "GET" else Fault()
        if fault.status:
            return self._refuse(fault.status, fault.code)
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked.group(1)) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{_digest(name, content)}"')
        self.send_header("X-Repo-Commit", commit)
        self.send_header("Content-Length", str(len(content) - start))
        if asked:
            span = f"bytes {start}-{len(content) - 1}/{len(content)}"
            self.send_header("Content-Range", span)
        self.end_headers()
        if self.command == "GET":
            answer = Answer(name, start)
            hub.answers.append(answer)
            self._send(content, answer, fault)

    def _send(self, content: bytes, answer: Answer, fault: Fault) -> None:
        if fault.wrong:
            content = content[:-1] + bytes([content[-1] ^ 1])
        stop = min(fault.cut or len(content), fault.stall or len(content))
        for start, end in ((answer.start, stop), (max(stop, answer.start), len(content))):
            try:
                self.wfile.write(content[start:end])
                self.wfile.flush()
            except OSError:  # the other side was killed
                self.close_connection = True
                return
            answer.sent += max(end - start, 0)
            if fault.cut is not None:
                self.close_connection = True
                return
            if fault.stall is not None:
                fault.stalled.set()
                fault.go.wait()


def _digest(name: str, content: bytes) -> str:
    if name.endswith(LARGE):
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _siblings(files: Mapping[str, bytes], claims: Mapping[str, int]) -> list[dict]:
    found = []
    for name, content in files.items():
        size = claims.get(name, len(content))
        one = {"rfilename": name, "size": size, "blobId": "0" * 40}
        if name.endswith(LARGE):
            sizes = {"size": size, "pointerSize": 130}
            one["lfs"] = {"sha256": _digest(name, content), **sizes}
        else:
            one["blobId"] = _digest(name, content)
        found.append(one)
    return found


def _entries(files: Mapping[str, bytes], inside: str, wanted: list[str] | None) -> list[dict]:
    """The tree below a folder, or the entries of given paths."""
    folders = {name.rpartition("/")[0] for name in files} - {""}
    found = [{"type": "directory", "path": name, "oid": "0" * 40, "size": 0} for name in folders]
    for name, content in files.items():
        one = {"type": "file", "path": name, "size": len(content), "oid": "0" * 40}
        if name.endswith(LARGE):
            sizes = {"size": len(content), "pointerSize": 130}
            one["lfs"] = {"oid": _digest(name, content), **sizes}
        found.append(one)
    if wanted is not None:
        return [one for one in found if one["path"] in wanted]
    return [one for one in found if one["path"].startswith(f"{inside}/" if inside else "")]
