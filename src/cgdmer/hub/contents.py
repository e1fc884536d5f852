# SPDX-License-Identifier: Apache-2.0
"""What a push publishes: every file with what it says about people, and a search for paths, hosts, and patients.

Only files that are known here are pushed. Everything else in a model's folder stays where it is and is named.
"""

import os
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypedDict

from safetensors import safe_open

from cgdmer.data.fingerprints import FILE_NAME as FINGERPRINTS
from cgdmer.data.fingerprints import PATIENTS_FILE, Fingerprints
from cgdmer.files.reading import read_json_object
from cgdmer.models.errors import ModelFolderError
from cgdmer.training import run_summary

CARD = "README.md"
_NOBODY = "names nobody"
_TOKENIZER = re.compile(
    r"(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_template)\.json|(vocab|merges)\.txt"
    r"|(tokenizer|spiece|sentencepiece\.bpe)\.model|chat_template\.jinja"
)
_VOCABULARIES = {"tokenizer.json", "vocab.json", "vocab.txt", "merges.txt", "chat_template.jinja"}  # any signs
_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
_NAMING_NOBODY = {
    re.compile(r"model\.safetensors\.index\.json"): "names of weights",
    re.compile(r"operating_points\.json"): "thresholds, chosen from ten or more records each",
    re.compile(r"familiarity\.safetensors"): "means of the features of ten or more training recordings each",
    re.compile(r"findings\.json"): "findings in the package's words, or of ten or more training records",
    re.compile(r"(processor|preprocessor)_config\.json"): "how recordings are prepared",
    re.compile(r"generation_config\.json"): "how texts are written",
    re.compile(r"[a-z0-9_]+\.py"): "code of this package",
    re.compile(r"\.eval_results/[^/]+\.yaml"): "a mean over all test records",
}
_READABLE_SUFFIXES = {".json", ".jinja", ".md", ".txt", ".yaml"}
_STAYING = {
    PATIENTS_FILE: "hashes of patients with their key: yours alone",
    "reconstructions/": "pictures of single recordings",
    "training_arguments.json": "paths of a machine",
    "metrics.jsonl": "a log of training",
}
_ROOTS = (
    *("home", "Users", "root", "mnt", "media", "data", "scratch", "srv", "var", "tmp", "opt", "nfs", "gpfs", "lustre"),
    *("cluster", "Volumes", "private", "work", "workspace", "projects", "storage", "export", "net", "proj"),
)
# Not the end of an address or of a relative path, and at least one name below the first folder.
_PATHS = re.compile(
    rf"(?<![\w.:/~>-])/(?:{'|'.join(_ROOTS)})/[\w.@-][^\s\"'`<>()\[\],;]*"
    r"|\b[A-Z]:\\+\w[^\s\"'`<>]*|\bfile://[^\s\"'`<>]+"
)
_SHORTEST_NUMBER = 6  # digits; shorter numbers may be anything


class PushedFile(TypedDict):
    """A file of a push: its path in the repository, its size in bytes, and what it says about people."""

    path: str
    bytes: int
    people: str


def pushed_files(folder: Path, own_card: bool = False) -> list[PushedFile]:
    """Every file of a staged folder, with what it says about people.

    Args:
        own_card: whether the text of the card was written by hand.

    Raises:
        ModelFolderError: there is a file of an unknown kind.
    """
    summary = folder / run_summary.FILE_NAME
    training = run_summary.read(summary) if summary.is_file() else None
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        {
            "path": path.relative_to(folder).as_posix(),
            "bytes": path.stat().st_size,
            "people": _people_in(path, path.relative_to(folder).as_posix(), training, own_card),
        }
        for path in files
    ]


def left_out(source: Path, folder: Path) -> dict[str, str]:
    """The files and folders beside a model that are not pushed, each with the reason; folders end in a slash."""
    names = [path.name + "/" * path.is_dir() for path in sorted(source.iterdir()) if not (folder / path.name).exists()]
    return {name: _STAYING.get(name, "not part of a model") for name in names}


def _people_in(path: Path, name: str, training: run_summary.TrainingSummary | None, own_card: bool) -> str:
    if _WEIGHTS.fullmatch(name):
        texts = any(stage["options"].get("text_source") == "report" for stage in _stages(training))
        return f"weights, which may memorize recordings{' and reports' * texts} that they were trained on"
    if name == FINGERPRINTS:
        found = Fingerprints.load(path)
        corpora = ", ".join(found.corpora) or "no corpus"
        return (
            f"hashes of {len(found.records):,} recordings ({corpora}): who has a recording can tell that it was used; "
            "no patients"
        )
    if name == "config.json":
        labels = [str(label) for label in (read_json_object(path).get("id2label") or {}).values()]
        named = [label for label in labels if not re.fullmatch(r"LABEL_\d+", label)]
        return f"settings; names the labels {', '.join(named)}" if named else f"settings; {_NOBODY}"
    if name == run_summary.FILE_NAME:
        return f"counts and options of training; names {', '.join(_names_in(training)) or 'nothing'}"
    if name == CARD:
        written = "your text, as it is: read it" if own_card else "made from these files and the results"
        return f"{written}; names what they name"
    if _TOKENIZER.fullmatch(name):
        return "the words that it reads; cgdmer learns none from reports"
    for pattern, what in _NAMING_NOBODY.items():
        if pattern.fullmatch(name):
            return f"{what}; {_NOBODY}"
    raise ModelFolderError(
        f"the folder has {name}, which is no file of a model that this package knows, so it is not known what it says "
        "about people. Remove it."
    )


def _stages(training: run_summary.TrainingSummary | None) -> Iterator[run_summary.TrainingSummary]:
    while training is not None:
        yield training
        training = training.get("earlier")


def _names_in(training: run_summary.TrainingSummary | None) -> list[str]:
    """What a run's description calls its data and models, in the words of whoever trained."""
    found: list[Any] = []
    for stage in _stages(training):
        data, source = stage["data"], stage["data"].get("source") or {}
        found += [data["name"], data["description"], source.get("title"), source.get("url")]
        found += [stage["options"].get(name) for name in ("config_name", "model", "text_model")]
    return list(dict.fromkeys(str(one) for one in found if one))


def refuse_places(folder: Path, *origins: str | os.PathLike[str]) -> None:
    """Raise a ModelFolderError if a text file names a folder or the host of a machine.

    Args:
        origins: files and folders of this machine that must not be named either, wherever they are.
    """
    paths = {str(Path(origin).resolve()) for origin in origins} | {str(Path.home()), str(Path.cwd())}
    # A path as short as "/" or "/root" would match other words.
    patterns = [re.compile(rf"{re.escape(path)}(?![\w-])") for path in paths if len(Path(path).parts) > 2]
    host = socket.gethostname()
    if re.search(r"[\d.-]", host) and len(host) > 3:  # a common word may well be in a card
        patterns.append(re.compile(rf"(?<![\w-]){re.escape(host)}(?![\w-])"))
    for name, text in _texts_in(folder):
        searched = patterns if name in _VOCABULARIES else [*patterns, _PATHS]
        for pattern in searched:
            if found := pattern.search(text):
                raise ModelFolderError(
                    f"{name} would publish {found[0][:200]!r}, which names a place on a machine. Remove it from the "
                    "model's folder, or from the results."
                )


def refuse_patients(folder: Path, source: Path) -> None:
    """Raise a ModelFolderError if a text file has a word that is the id of a training patient.

    Short numbers are not compared, because they may be anything.

    Args:
        source: the run's folder, which knows the patients.
    """
    trained_on = Fingerprints.of_model(str(source))
    if trained_on is None or trained_on.patients is None:
        return
    for name, text in _texts_in(folder):
        words = {word.strip(".-_") for word in re.findall(r"[\w.-]+", text)}
        words = {word for word in words if not word.isdigit() or len(word) >= _SHORTEST_NUMBER}
        for corpus in (*trained_on.corpora, ""):
            if named := trained_on.patients.among(words, corpus):
                raise ModelFolderError(
                    f"{name} would publish {named[0]!r}, the id of a training patient. Remove it from the model's "
                    "folder, or from the results."
                )


def _texts_in(folder: Path) -> Iterator[tuple[str, str]]:
    """The text files, and the names and remarks in the headers of weights."""
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix in _READABLE_SUFFIXES:
            yield name, path.read_text(encoding="utf-8")
        elif path.suffix == ".safetensors":
            with safe_open(path, "numpy") as file:
                yield (
                    name,
                    "\n".join([*file.keys(), *(f"{key} {text}" for key, text in (file.metadata() or {}).items())]),
                )


def paths_of_training(source: Path) -> Iterable[str]:
    """The absolute paths among the arguments that pretraining keeps in its folder."""
    path = source / "training_arguments.json"
    values = read_json_object(path).values() if path.is_file() else ()
    return [value for value in values if isinstance(value, str) and Path(value).is_absolute()]
