# SPDX-License-Identifier: Apache-2.0
"""The repositories of the stand-in: branches, tags and commits in memory, file contents on disk.

As on the Hub, a commit is atomic: its tree is built first, and the branch is moved last, under a lock.
"""

import hashlib
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LFS_SUFFIXES = {".arrow", ".bin", ".parquet", ".png", ".pt", ".safetensors"}
LFS_FROM_BYTES = 10_000_000  # with any suffix


class Refused(Exception):
    """An error, in the Hub's words.

    Args:
        status: HTTP.
        code: for the header X-Error-Code, by which huggingface_hub chooses its exception.
    """

    def __init__(self, status: int, message: str, code: str = ""):
        super().__init__(message)
        self.status, self.code = status, code


@dataclass(frozen=True)
class StoredFile:
    """`oid` is Git's (that of the pointer if `is_lfs`); `sha256` names the content on disk."""

    oid: str
    sha256: str
    size: int
    is_lfs: bool

    @property
    def known_oid(self) -> str:
        """huggingface_hub compares it to see whether a file has changed."""
        return self.sha256 if self.is_lfs else self.oid

    def described(self, path: str) -> dict[str, Any]:
        entry: dict[str, Any] = {"type": "file", "path": path, "oid": self.oid, "size": self.size}
        if self.is_lfs:
            entry["lfs"] = {"oid": self.sha256, "size": self.size, "pointerSize": 134}
        return entry


@dataclass(frozen=True)
class Commit:
    oid: str
    title: str
    message: str
    parent: str | None
    seconds: float
    files: Mapping[str, StoredFile]


@dataclass
class Repository:
    kind: str  # "model" or "dataset"
    name: str  # "org/name"
    private: bool
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def at(self, revision: str) -> Commit:
        """The commit of a branch, a tag, or a hash."""
        revision = revision.removeprefix("refs/heads/")
        oid = self.branches.get(revision) or self.tags.get(revision) or revision
        if oid not in self.commits:
            raise Refused(404, f"Invalid rev id: {revision}", "RevisionNotFound")
        return self.commits[oid]

    def history(self, revision: str) -> list[Commit]:
        """Commits, newest first."""
        found: list[Commit] = [self.at(revision)]
        while found[-1].parent is not None:
            found.append(self.commits[found[-1].parent])
        return found


class Repositories:
    """All repositories; every method is thread-safe."""

    def __init__(self, folder: Path):
        self._objects = folder / "objects"
        self._objects.mkdir(parents=True)
        self._all: dict[tuple[str, str], Repository] = {}
        self._lock = threading.RLock()

    # Content

    def content_path(self, sha256: str) -> Path:
        return self._objects / sha256

    def has_content(self, sha256: str) -> bool:
        return self.content_path(sha256).is_file()

    def keep_content(self, content: bytes) -> str:
        sha256 = hashlib.sha256(content).hexdigest()
        temporary = self._objects / f".{uuid.uuid4().hex}"
        temporary.write_bytes(content)
        temporary.replace(self.content_path(sha256))
        return sha256

    def read(self, file: StoredFile) -> bytes:
        return self.content_path(file.sha256).read_bytes()

    # Repositories

    def create(self, kind: str, name: str, private: bool) -> Repository:
        with self._lock:
            if (kind, name) in self._all:
                raise Refused(409, "You already created this model repo" if kind == "model" else "You already did")
            repository = self._all[kind, name] = Repository(kind, name, private)
            content = b"*.safetensors filter=lfs diff=lfs merge=lfs -text\n"
            files = {".gitattributes": self._regular(content)}
            self._add(repository, "main", "initial commit", "", None, files)
            return repository

    def get(self, kind: str, name: str) -> Repository:
        with self._lock:
            if (kind, name) not in self._all:
                raise Refused(404, "Repository not found", "RepoNotFound")
            return self._all[kind, name]

    def branch(self, repository: Repository, name: str, start: str | None) -> None:
        with self._lock:
            if name in repository.branches:
                raise Refused(409, f"Reference already exists: {name}")
            repository.branches[name] = repository.at(start or "main").oid

    def tag(self, repository: Repository, name: str, revision: str) -> None:
        with self._lock:
            if name in repository.tags:
                raise Refused(409, f"Tag reference exists already: {name}")
            repository.tags[name] = repository.at(revision).oid

    def commit(self, repository: Repository, branch: str, lines: Iterable[Mapping[str, Any]]) -> Commit:
        """Make one commit from the lines of the Hub's NDJSON: a header, then files and deletions."""
        with self._lock:
            if branch not in repository.branches:
                raise Refused(404, f"Invalid rev id: {branch}", "RevisionNotFound")
            parent = repository.at(branch)
            files, header = dict(parent.files), None
            for line in lines:
                value = line["value"]
                if line["key"] == "header":
                    header = value
                elif line["key"] == "file":
                    files[value["path"]] = self._regular(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = self._large(value["oid"])
                elif line["key"] == "deletedFile":
                    if value["path"] not in files:
                        raise Refused(404, "A file with this name doesn't exist", "EntryNotFound")
                    del files[value["path"]]
                elif line["key"] == "deletedFolder":
                    prefix = value["path"].rstrip("/") + "/"
                    files = {path: one for path, one in files.items() if not path.startswith(prefix)}
                else:
                    raise Refused(400, f"unknown operation {line['key']}")
            if header is None or not header.get("summary"):
                raise Refused(400, "a commit needs a header with a summary")
            if header.get("parentCommit", parent.oid) != parent.oid:
                raise Refused(412, "A commit has happened since. Please refresh and try again.")
            return self._add(repository, branch, header["summary"], header.get("description", ""), parent.oid, files)

    def _add(
        self,
        repository: Repository,
        branch: str,
        title: str,
        message: str,
        parent: str | None,
        files: Mapping[str, StoredFile],
    ) -> Commit:
        oid = hashlib.sha1(uuid.uuid4().bytes).hexdigest()
        commit = Commit(oid, title, message, parent, time.time(), files)
        repository.commits[oid] = commit
        repository.branches[branch] = oid
        return commit

    def _regular(self, content: bytes) -> StoredFile:
        return StoredFile(git_oid(content), self.keep_content(content), len(content), is_lfs=False)

    def _large(self, sha256: str) -> StoredFile:
        if not self.has_content(sha256):
            raise Refused(400, f"LFS pointer points to a file that does not exist: {sha256}")
        size = self.content_path(sha256).stat().st_size
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
        return StoredFile(git_oid(pointer.encode()), sha256, size, is_lfs=True)


def git_oid(content: bytes) -> str:
    """Git's hash of a file with this content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def entries(commit: Commit, folder: str, recursive: bool) -> list[dict[str, Any]]:
    """The files and folders in a folder, as the Hub lists them."""
    prefix = f"{folder}/" if folder else ""
    found: dict[str, dict[str, Any]] = {}
    for path, file in sorted(commit.files.items()):
        if not path.startswith(prefix):
            continue
        parts = path[len(prefix) :].split("/")
        for depth in range(1, len(parts)) if recursive else range(1, min(2, len(parts))):
            parent = prefix + "/".join(parts[:depth])
            found[parent] = {"type": "directory", "path": parent, "oid": "0" * 40, "size": 0}
        if recursive or len(parts) == 1:
            found[path] = file.described(path)
    return list(found.values())
