# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the Hugging Face Hub on loopback, in which faults can be planted.

It implements as much of the Hub's HTTP API as huggingface_hub, transformers and datasets need to push and load models
and datasets (without Xet: set HF_HUB_DISABLE_XET=1). Point `HF_ENDPOINT` at its `url`:

    with HubStandIn(folder, tokens={"hf_writer": Account("ann", orgs=("lab",))}) as hub:
        ...
        hub.plant(Fault("commit", cut_reply_after=0))
"""

import base64
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml
from stand_in_repositories import LFS_FROM_BYTES, LFS_SUFFIXES, Commit, Refused, Repositories, Repository, entries


@dataclass(frozen=True)
class Account:
    """The owner of a token, who reads and, by default, writes these namespaces."""

    name: str
    orgs: tuple[str, ...] = ()
    writes: bool = True

    def owns(self, namespace: str) -> bool:
        return namespace in (self.name, *self.orgs)


@dataclass
class Fault:
    """What goes wrong with requests of one kind (a name in `_ROUTES`).

    Attributes:
        status: answer with this error.
        cut_request_after: close the connection after reading this many bytes of the request's body.
        cut_reply_after: do what was asked, and close the connection after this many bytes of the answer's body; -1:
            before its headers.
        seconds: wait this long first.
        first: the first request to hit, counted from 1 since the fault was planted.
        times: how many requests to hit; None: all.
    """

    kind: str
    status: int | None = None
    cut_request_after: int | None = None
    cut_reply_after: int | None = None
    seconds: float = 0.0
    first: int = 1
    times: int | None = None
    seen: int = 0

    def strikes(self, kind: str) -> bool:
        if kind != self.kind:
            return False
        self.seen += 1
        return self.first <= self.seen and (self.times is None or self.seen < self.first + self.times)


@dataclass(frozen=True)
class Request:
    """A request that was received, and whose token it had."""

    kind: str
    method: str
    path: str
    token: str | None


@dataclass
class Answer:
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @classmethod
    def of_json(cls, value: Any, status: int = 200) -> "Answer":
        return cls(status, (("Content-Type", "application/json"),), json.dumps(value).encode())


class HubStandIn:
    """The server, a context manager. It stores everything in `folder`, which must not exist yet."""

    def __init__(self, folder: Path, tokens: dict[str, Account]):
        self.repositories = Repositories(folder)
        self.tokens = tokens
        self.requests: list[Request] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self.stopping = threading.Event()

    def __enter__(self) -> "HubStandIn":
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{port}"
        self.storage_url = f"http://localhost:{port}"  # another host to clients, as on the Hub, so no token goes there
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop listening; may be called twice."""
        if not self.stopping.is_set():
            self.stopping.set()
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()

    def plant(self, fault: Fault) -> Fault:
        if fault.kind not in {kind for kind, *_ in _ROUTES}:
            raise ValueError(f"there is no request of the kind {fault.kind!r}")
        with self._lock:
            self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._faults.clear()

    def note(self, request: Request) -> Fault | None:
        """Record a request; returns the fault that hits it."""
        with self._lock:
            self.requests.append(request)
            struck = [fault for fault in self._faults if fault.strikes(request.kind)]
        return struck[0] if struck else None

    def files(self, name: str, kind: str = "model", revision: str = "main") -> dict[str, bytes]:
        """A repository's files, by path."""
        commit = self.repositories.get(kind, name).at(revision)
        return {path: self.repositories.read(file) for path, file in commit.files.items()}

    def history(self, name: str, kind: str = "model", revision: str = "main") -> list[Commit]:
        """A repository's commits, newest first."""
        return self.repositories.get(kind, name).history(revision)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_hub: HubStandIn

    def log_message(self, format: str, *args: Any) -> None:
        """Prints nothing: tests look at `HubStandIn.requests`."""

    def _serve(self) -> None:
        self.hub, self.store = self.server_hub, self.server_hub.repositories
        split = urlsplit(self.path)
        self.query = {key: values[0] for key, values in parse_qs(split.query).items()}
        kind, answerer, groups = _route(self.command, split.path)
        self.token = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        fault = self.hub.note(Request(kind, self.command, split.path, self.token))
        if fault is not None and fault.seconds:
            self.hub.stopping.wait(fault.seconds)
        if fault is not None and fault.cut_request_after is not None:
            self._body(fault.cut_request_after)
            return self._cut()
        self.body = self._body()
        try:
            if fault is not None and fault.status is not None:
                raise Refused(fault.status, "planted")
            self.account = self._account()
            answer = answerer(self, *(None if group is None else unquote(group) for group in groups))
        except Refused as refused:
            answer = Answer.of_json({"error": str(refused), **_url_of_existing(self, refused)}, refused.status)
            answer.headers += (("X-Error-Message", str(refused)),)
            answer.headers += (("X-Error-Code", refused.code),) if refused.code else ()
        self._send(answer, None if fault is None else fault.cut_reply_after)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve

    def _send(self, answer: Answer, cut_after: int | None) -> None:
        if cut_after == -1:
            return self._cut()
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if not any(name == "Content-Length" for name, _ in answer.headers):
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body if cut_after is None else answer.body[:cut_after])
        if cut_after is not None:
            self._cut()

    def _cut(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)

    def _body(self, limit: int | None = None) -> bytes:
        """The request's body, or its first bytes."""
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            length = int(self.headers.get("Content-Length") or 0)
            return self.rfile.read(length if limit is None else min(limit, length))
        parts: list[bytes] = []
        while limit is None or sum(map(len, parts)) < limit:
            size = int(self.rfile.readline().split(b";")[0] or b"0", 16)
            parts.append(self.rfile.read(size))
            self.rfile.readline()
            if not size:
                break
        return b"".join(parts)

    # Permissions

    def _account(self) -> Account | None:
        if self.token is None:
            return None
        if self.token not in self.hub.tokens:
            raise Refused(401, "Invalid credentials in Authorization header")
        return self.hub.tokens[self.token]

    def _writer(self, namespace: str) -> Account:
        if self.account is None:
            raise Refused(401, "Invalid username or password.")
        if not self.account.writes or not self.account.owns(namespace):
            raise Refused(403, f"You don't have the rights to write under the namespace {namespace!r}")
        return self.account

    def _repository(self, kind: str, name: str, to_write: bool = False) -> Repository:
        namespace = name.split("/")[0]
        repository = self.store.get(kind, name)
        if repository.private and (self.account is None or not self.account.owns(namespace)):
            raise Refused(401 if self.account is None else 404, "Repository not found", "RepoNotFound")
        if to_write:
            self._writer(namespace)
        return repository

    # Account and repositories

    def whoami(self) -> Answer:
        if self.account is None:
            raise Refused(401, "Invalid username or password.")
        role = "write" if self.account.writes else "read"
        return Answer.of_json(
            {
                "type": "user",
                "name": self.account.name,
                "orgs": [{"name": org} for org in self.account.orgs],
                "auth": {"type": "access_token", "accessToken": {"role": role}},
            }
        )

    def create(self) -> Answer:
        wanted = json.loads(self.body)
        if self.account is None:
            raise Refused(401, "Invalid username or password.")
        namespace = wanted.get("organization") or self.account.name
        self._writer(namespace)
        kind, name = wanted.get("type", "model"), f"{namespace}/{wanted['name']}"
        # huggingface_hub says `visibility` since version 2.
        self.store.create(kind, name, wanted.get("visibility") == "private" or bool(wanted.get("private")))
        return Answer.of_json({"url": self._url(kind, name), "name": name})

    def _url(self, kind: str, name: str) -> str:
        return f"{self.hub.url}/{'datasets/' if kind == 'dataset' else ''}{name}"

    def validate_yaml(self) -> Answer:
        errors = _errors_of_card(json.loads(self.body)["content"])
        found = [{"message": error} for error in errors]
        return Answer.of_json({"errors": found, "warnings": []}, 400 if found else 200)

    def info(self, kind: str, name: str, revision: str | None) -> Answer:
        repository = self._repository(kind, name)
        commit = repository.at(revision or "main")
        return Answer.of_json(
            {
                "id": name,
                "sha": commit.oid,
                "private": repository.private,
                "tags": [],
                "siblings": [{"rfilename": path} for path in sorted(commit.files)],
                "lastModified": _time(commit),
            }
        )

    def branch(self, kind: str, name: str, branch: str) -> Answer:
        repository = self._repository(kind, name, to_write=True)
        self.store.branch(repository, branch, (json.loads(self.body or b"{}") or {}).get("startingPoint"))
        return Answer.of_json({})

    def tag(self, kind: str, name: str, revision: str) -> Answer:
        self.store.tag(self._repository(kind, name, to_write=True), json.loads(self.body)["tag"], revision)
        return Answer.of_json({})

    def refs(self, kind: str, name: str) -> Answer:
        repository = self._repository(kind, name)
        listed = {
            place: [{"name": ref, "ref": f"refs/{git}/{ref}", "targetCommit": oid} for ref, oid in refs.items()]
            for place, git, refs in (("branches", "heads", repository.branches), ("tags", "tags", repository.tags))
        }
        return Answer.of_json({**listed, "converts": [], "pullRequests": []})

    def commits(self, kind: str, name: str, revision: str) -> Answer:
        listed = self._repository(kind, name).history(revision)
        return Answer.of_json(
            [{"id": c.oid, "title": c.title, "message": c.message, "date": _time(c), "authors": []} for c in listed]
        )

    # Reading

    def tree(self, kind: str, name: str, revision: str, folder: str | None) -> Answer:
        commit = self._repository(kind, name).at(revision)
        found = entries(commit, folder or "", recursive=self.query.get("recursive") in ("true", "True"))
        if folder and not found:
            raise Refused(404, f"{folder} does not exist on {revision}", "EntryNotFound")
        return Answer.of_json(found)

    def paths_info(self, kind: str, name: str, revision: str) -> Answer:
        commit = self._repository(kind, name).at(revision)
        if "json" in (self.headers.get("Content-Type") or ""):
            paths = json.loads(self.body)["paths"]
        else:
            paths = parse_qs(self.body.decode()).get("paths", [])
        everything = {entry["path"]: entry for entry in entries(commit, "", recursive=True)}
        return Answer.of_json([everything[path] for path in paths if path in everything])

    def resolve(self, dataset: str | None, name: str, revision: str, path: str) -> Answer:
        commit = self._repository("dataset" if dataset else "model", name).at(revision)
        head = (("X-Repo-Commit", commit.oid),)
        file = commit.files.get(path)
        if file is None:
            message = "Entry not found"
            return Answer(
                404, (*head, ("X-Error-Code", "EntryNotFound"), ("X-Error-Message", message)), message.encode()
            )
        if file.is_lfs:  # redirects to the storage of large files; the Hub signs the address
            linked = (("X-Linked-Etag", f'"{file.sha256}"'), ("X-Linked-Size", str(file.size)))
            return Answer(302, (*head, *linked, ("Location", f"{self.hub.storage_url}/lfs/{file.sha256}")))
        return self._content(file.sha256, (*head, ("ETag", f'"{file.oid}"')))

    def _content(self, sha256: str, headers: tuple[tuple[str, str], ...]) -> Answer:
        content = self.store.content_path(sha256).read_bytes()
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if asked is None:
            return Answer(200, (*headers, ("Accept-Ranges", "bytes"), ("Content-Length", str(len(content)))), content)
        start, end = int(asked[1]), min(int(asked[2] or len(content)), len(content) - 1)
        if start >= len(content):
            return Answer(416, (*headers, ("Content-Range", f"bytes */{len(content)}")))
        part = content[start : end + 1]
        return Answer(206, (*headers, ("Content-Range", f"bytes {start}-{end}/{len(content)}")), part)

    def lfs_download(self, sha256: str) -> Answer:
        if not self.store.has_content(sha256):
            raise Refused(404, "no such object")
        return self._content(sha256, (("ETag", f'"{sha256}"'),))

    # Writing

    def preupload(self, kind: str, name: str, revision: str) -> Answer:
        repository = self._repository(kind, name, to_write=True)
        present = repository.at(revision).files
        files = []
        for wanted in json.loads(self.body)["files"]:
            path = wanted["path"]
            large = PurePosixPath(path).suffix in LFS_SUFFIXES or wanted["size"] >= LFS_FROM_BYTES
            entry = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False}
            if path in present:
                entry["oid"] = present[path].known_oid
            files.append(entry)
        return Answer.of_json({"files": files})

    def lfs_batch(self, dataset: str | None, name: str) -> Answer:
        self._repository("dataset" if dataset else "model", name, to_write=True)
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            entry = {"oid": wanted["oid"], "size": wanted["size"]}
            if not self.store.has_content(wanted["oid"]):
                place = f"{self.hub.url}/lfs/{wanted['oid']}"
                entry["actions"] = {"upload": {"href": place}, "verify": {"href": f"{place}/verify"}}
            objects.append(entry)
        return Answer.of_json({"transfer": "basic", "objects": objects})

    def lfs_upload(self, sha256: str) -> Answer:
        if self.store.keep_content(self.body) != sha256:
            raise Refused(400, "the content has another SHA-256")
        return Answer()

    def lfs_verify(self, sha256: str) -> Answer:
        size = json.loads(self.body)["size"]
        if not self.store.has_content(sha256) or self.store.content_path(sha256).stat().st_size != size:
            raise Refused(422, "the object does not exist, or has another size")
        return Answer.of_json({})

    def commit(self, kind: str, name: str, revision: str) -> Answer:
        repository = self._repository(kind, name, to_write=True)
        lines = [json.loads(line) for line in self.body.splitlines() if line]
        for line in lines:
            if line["key"] == "file":
                line["value"]["content"] = base64.b64decode(line["value"]["content"], validate=True)
        commit = self.store.commit(repository, revision, lines)
        url = f"{self._url(kind, name)}/commit/{commit.oid}"
        return Answer.of_json({"success": True, "commitOid": commit.oid, "commitUrl": url})

    def unknown(self) -> Answer:
        raise Refused(404, f"the stand-in has no {self.command} {self.path}")


_NAME, _REVISION = r"([\w.-]+/[\w.-]+)", r"([^/]+)"
_API = rf"/api/(model|dataset)s/{_NAME}"
_ROUTES: list[tuple[str, str, str, Callable[..., Answer]]] = [
    ("whoami", "GET", r"/api/whoami-v2", _Handler.whoami),
    ("create", "POST", r"/api/repos/create", _Handler.create),
    ("validate-yaml", "POST", r"/api/validate-yaml", _Handler.validate_yaml),
    ("info", "GET", rf"{_API}(?:/revision/{_REVISION})?", _Handler.info),
    ("branch", "POST", rf"{_API}/branch/{_REVISION}", _Handler.branch),
    ("tag", "POST", rf"{_API}/tag/{_REVISION}", _Handler.tag),
    ("refs", "GET", rf"{_API}/refs", _Handler.refs),
    ("commits", "GET", rf"{_API}/commits/{_REVISION}", _Handler.commits),
    ("tree", "GET", rf"{_API}/tree/{_REVISION}(?:/(.+))?", _Handler.tree),
    ("paths-info", "POST", rf"{_API}/paths-info/{_REVISION}", _Handler.paths_info),
    ("preupload", "POST", rf"{_API}/preupload/{_REVISION}", _Handler.preupload),
    ("commit", "POST", rf"{_API}/commit/{_REVISION}", _Handler.commit),
    ("lfs-batch", "POST", rf"/(datasets/)?{_NAME}\.git/info/lfs/objects/batch", _Handler.lfs_batch),
    ("lfs-upload", "PUT", r"/lfs/([0-9a-f]{64})", _Handler.lfs_upload),
    ("lfs-verify", "POST", r"/lfs/([0-9a-f]{64})/verify", _Handler.lfs_verify),
    ("lfs-download", "GET|HEAD", r"/lfs/([0-9a-f]{64})", _Handler.lfs_download),
    ("resolve", "GET|HEAD", rf"/(datasets/)?{_NAME}/resolve/{_REVISION}/(.+)", _Handler.resolve),
]


def _route(method: str, path: str) -> tuple[str, Callable[..., Answer], tuple[str | None, ...]]:
    for kind, methods, pattern, answerer in _ROUTES:
        if method in methods.split("|") and (found := re.fullmatch(pattern, path)):
            return kind, answerer, found.groups()
    return "unknown", _Handler.unknown, ()


def _url_of_existing(handler: _Handler, refused: Refused) -> dict[str, str]:
    """What the Hub adds to its answer if a repository of this name exists."""
    if refused.status != HTTPStatus.CONFLICT or handler.path != "/api/repos/create":
        return {}
    wanted = json.loads(handler.body)
    assert handler.account is not None
    name = f"{wanted.get('organization') or handler.account.name}/{wanted['name']}"
    return {"url": handler._url(wanted.get("type", "model"), name)}


def _time(commit: Commit) -> str:
    return datetime.fromtimestamp(commit.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def _errors_of_card(content: str) -> list[str]:
    """Errors in a card's metadata: it is not YAML, or its model-index lacks what the Hub requires."""
    found = re.match(r"---\n(.*?)\n---(\n|$)", content, re.DOTALL)
    if found is None:
        return []
    try:
        metadata = yaml.safe_load(found[1]) or {}
        return list(_errors_of_model_index(metadata.get("model-index", [])))
    except (yaml.YAMLError, AttributeError, KeyError, TypeError) as error:
        return [f"metadata cannot be read: {error!r}"]


def _errors_of_model_index(models: list[dict[str, Any]]) -> Iterator[str]:
    for model in models:
        for result in model["results"]:
            for place, key in (("task", "type"), ("dataset", "type"), ("dataset", "name")):
                if not isinstance(result[place].get(key), str):
                    yield f'"model-index[0].results[0].{place}.{key}" is required'
            for metric in result["metrics"]:
                if not isinstance(metric.get("type"), str) or "value" not in metric:
                    yield '"model-index[0].results[0].metrics" need a type and a value'


@contextmanager
def planted(hub: HubStandIn, fault: Fault) -> Iterator[Fault]:
    """Plants a fault for the duration of a block."""
    try:
        yield hub.plant(fault)
    finally:
        hub.heal()
