# SPDX-License-Identifier: Apache-2.0
"""Opens a prepared folder as data from elsewhere: everything is checked before a row is decoded.

`datasets.load_from_disk` trusts its folder: names of splits and files may lead anywhere, an `Image` or `Audio` column
fetches what its rows name, and numbers are believed. Here each small file is checked against what the writer makes,
and each row against itself. Only offsets and numbers are read for that, so it takes seconds for a million records.
"""

import re
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import datasets
import pyarrow as pa
from datasets.table import MemoryMappedTable, concat_tables

from cgdmer.data.row_checks import PREPARE_AGAIN, check_rows
from cgdmer.files.json_types import check
from cgdmer.files.reading import check_size, failing_as, read_json_object
from cgdmer.models.errors import CorpusError

_MOST_SPLITS, _MOST_FILES = 100, 100_000
_LARGEST_FILE = 2**44  # bytes; files are mapped, not read
_NAME = re.compile(r"[\w-][\w.-]{0,199}")  # of a split, a file, or a fingerprint: no separator, and not hidden
_PLAIN_TYPES = ("Value", "List", "LargeList", "Sequence")
_INFO = ("description", "citation", "homepage", "license", "dataset_name")


class _Splits(TypedDict):
    """dataset_dict.json."""

    splits: list[str]


class _DataFile(TypedDict):
    """One Arrow file of a split."""

    filename: str


class _State(TypedDict):
    """state.json of a split. A format would turn rows into something else than Python's own types."""

    _data_files: list[_DataFile]
    _fingerprint: str
    _format_type: NotRequired[None]
    _format_columns: NotRequired[list[str] | None]


class _Info(TypedDict):
    """dataset_info.json of a split, as far as it is used."""

    features: dict[str, Any]
    description: NotRequired[str | None]
    citation: NotRequired[str | None]
    homepage: NotRequired[str | None]
    license: NotRequired[str | None]
    dataset_name: NotRequired[str | None]


def open_folder(folder: Path, check_columns: Callable[[datasets.Features, str], None]) -> datasets.DatasetDict:
    """The splits of a prepared dataset, memory-mapped.

    Args:
        check_columns: called with the features of a split, and what it is.

    Raises:
        CorpusError: it is not what `cgdmer.data.writing` makes; the message names the file or the record.
    """
    with failing_as(CorpusError, folder / "dataset_dict.json", PREPARE_AGAIN):
        listed = read_json_object(_inside(folder, folder / "dataset_dict.json"))
        check(listed, _Splits)
        names = listed["splits"]
        if not names or len(names) > _MOST_SPLITS or len(set(names)) < len(names):
            raise ValueError(f"it lists {len(names)} splits, or one twice")
        for name in names:
            _refuse_names(name)
    return datasets.DatasetDict({name: _open_split(folder, name, check_columns) for name in names})


def _open_split(folder: Path, name: str, check_columns: Callable[[datasets.Features, str], None]) -> datasets.Dataset:
    part = folder / name
    with failing_as(CorpusError, part / "state.json", PREPARE_AGAIN):
        state = read_json_object(_inside(folder, part / "state.json"))
        check(state, _State)
        files = [file["filename"] for file in state["_data_files"]]
        if not files or len(files) > _MOST_FILES:
            raise ValueError(f"it lists {len(files)} files")
        for text in (state["_fingerprint"], *files):
            _refuse_names(text)
    with failing_as(CorpusError, part / "dataset_info.json", PREPARE_AGAIN):
        info = read_json_object(_inside(folder, part / "dataset_info.json"))
        check(info, _Info)
        features = _features(info["features"])
    where = f"{folder}: the split {name}"
    check_columns(features, where)
    tables = [mapped(part / file, features, inside=folder) for file in files]
    dataset = datasets.Dataset(
        concat_tables(tables),
        info=datasets.DatasetInfo(features=features, **{key: info.get(key) or "" for key in _INFO}),
        split=datasets.NamedSplit(name),
        fingerprint=state["_fingerprint"],
    )
    check_rows(dataset, where)
    return dataset


def _inside(folder: Path, path: Path) -> Path:
    """The path, if it is in the folder once links are followed; a link out of it would read any file."""
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError("it is a link that leads out of the dataset's folder; copy the files there (cp -rL)")
    return path


def _refuse_names(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"it holds the name {name[:100]!r}, which is not that of a file in the dataset's folder")


def _features(tree: dict[str, Any]) -> datasets.Features:
    """The features of dataset_info.json. Types that decode files, such as Image, are not even looked up."""
    for name, feature in tree.items():
        _refuse_decoders(name, feature)
    try:
        return datasets.Features.from_dict(tree)
    except Exception as error:  # whatever the library makes of a wrong description
        raise ValueError(f"its features are not those of a dataset ({error})") from error


def _refuse_decoders(name: str, feature: Any) -> None:
    """Raise a ValueError for anything but values and lists of them."""
    if isinstance(feature, list) and len(feature) == 1:
        return _refuse_decoders(name, feature[0])
    kind = feature.get("_type") if isinstance(feature, dict) else None
    if kind not in _PLAIN_TYPES:
        raise ValueError(
            f"it has the column {name[:100]!r} of type {str(kind)[:100]}, which no prepared dataset has; reading it "
            "could open other files"
        )
    if kind != "Value":
        _refuse_decoders(name, feature.get("feature"))
    return None


def is_plain(feature: Any) -> bool:
    """Whether a column holds values or lists of them, which are read as they are."""
    if isinstance(feature, (datasets.List, datasets.LargeList)):
        return is_plain(feature.feature)
    return type(feature) is datasets.Value


def mapped(path: Path, features: datasets.Features, inside: Path | None = None) -> MemoryMappedTable:
    """The rows of an Arrow file.

    Args:
        features: its columns.
        inside: the folder that it must be in; None: that of the file itself.

    Raises:
        CorpusError: it is damaged, compressed, or has other columns.
    """
    with failing_as(CorpusError, path, PREPARE_AGAIN):
        check_size(_inside(inside or path.parent, path), _LARGEST_FILE)
        try:
            refuse_compression(path)
            table = MemoryMappedTable.from_file(str(path))
        except (pa.ArrowException, struct.error, MemoryError) as error:
            raise ValueError(str(error)[:300]) from error
        schema = features.arrow_schema
        if table.column_names != schema.names or [column.type for column in table.columns] != schema.types:
            raise ValueError("its columns are not those that dataset_info.json states")
        return table.replace_schema_metadata(None)


def refuse_compression(path: Path) -> None:
    """Compressed buffers unfold to any size; the writer makes none, and mapped ones take no memory."""
    with pa.memory_map(str(path)) as file:
        for message in _messages(file):
            if message.type == "dictionary":
                raise ValueError("it holds a dictionary, which a prepared dataset has not")
            if message.type == "record batch" and _is_compressed(bytes(message.metadata)):
                raise ValueError("its buffers are compressed, which those of a prepared dataset are not")


def _messages(file: pa.NativeFile) -> Iterator[pa.ipc.Message]:
    reader = pa.ipc.MessageReader.open_stream(file)
    while True:
        try:
            yield reader.read_next_message()
        except StopIteration:
            return


def _is_compressed(metadata: bytes) -> bool:
    """Whether a record batch has the field `compression` (Message.fbs: header is field 2, compression field 3)."""

    def table_at(place: int) -> int:
        return place + struct.unpack_from("<I", metadata, place)[0]

    def field(table: int, number: int) -> int:
        fields = table - struct.unpack_from("<i", metadata, table)[0]
        if 4 + 2 * number >= struct.unpack_from("<H", metadata, fields)[0]:
            return 0
        offset = struct.unpack_from("<H", metadata, fields + 4 + 2 * number)[0]
        return table + offset if offset else 0

    header = field(table_at(0), 2)
    return bool(header and field(table_at(header), 3))
