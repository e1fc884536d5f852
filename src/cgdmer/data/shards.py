# SPDX-License-Identifier: Apache-2.0
"""Streams a prepared dataset from shards: Parquet or Arrow files in a folder, or a dataset repository on the Hub.

`DatasetDict.push_to_hub` turns a prepared folder into such a repository. `summary.json` is not part of what `datasets`
uploads, so it has to be uploaded separately.
"""

import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
from datasets.exceptions import DatasetsError
from datasets.packaged_modules.arrow.arrow import Arrow
from datasets.packaged_modules.parquet.parquet import Parquet
from huggingface_hub import HfFileSystem, hf_hub_download
from huggingface_hub.errors import EntryNotFoundError

from cgdmer.data.dataset_folder import refuse_compression
from cgdmer.data.fingerprints import Fingerprints
from cgdmer.data.row_checks import check_rows
from cgdmer.data.storage import FEATURES, check_columns, load_dataset_folder
from cgdmer.files.reading import failing_as, read_json_object
from cgdmer.models.errors import CGDMERError, ConfigurationError, CorpusError

_SPLITS = ("train", "validation")
# Used directly: `datasets.load_dataset` reports each use of them to a server.
_BUILDERS = {"parquet": Parquet, "arrow": Arrow}
_ROWS_PER_READ = 1000
_LARGEST_ROW_GROUP, _HIGHEST_RATIO = 2**27, 50  # bytes; samples of ECGs are compressed to a third, flat ones more


class ShardedDataset:
    """The training shards of a dataset, read one by one, and what is known about the whole.

    Args:
        name: the id of a dataset repository on the Hub; or a folder, prepared by `cgdmer prepare` or holding
            `train-*.parquet`, `data/train-*.parquet`, or `train/*.parquet` (or `.arrow`), and likewise for validation.

    Attributes:
        train: a `datasets` stream of rows as `cgdmer.data.storage` writes them.

    Raises:
        CorpusError: the dataset cannot be read, a split has no shards, or a column is missing or has the wrong type.
    """

    def __init__(self, name: str):
        self.name = name
        self._is_local = Path(name).is_dir()
        try:
            self._builder = self._open()
            if self._builder.name not in _BUILDERS:  # others run decoders on the contents of their files
                raise CorpusError(
                    f"{name} is a dataset of {self._builder.name} files; supported are {', '.join(_BUILDERS)}."
                )
            self._files = {split: list((self._builder.config.data_files or {}).get(split, ())) for split in _SPLITS}
            for split, files in self._files.items():
                if not files:
                    raise CorpusError(f"{name} has no shards of the split {split!r}.")
            self.train = self._builder.as_streaming_dataset(split="train")
        except CGDMERError:
            raise
        except Exception as error:  # whatever `datasets` makes of a wrong description of the columns
            raise CorpusError(
                f"{name} is neither a folder of shards nor a dataset on the Hub that can be read ({error})."
            ) from error
        check_columns(self.train.features or datasets.Features(), f"{name}: the split train")

    def _open(self, **options: Any) -> datasets.DatasetBuilder:
        if not self._is_local:
            return datasets.load_dataset_builder(self.name, **options)
        folder = Path(self.name)
        for suffix, builder in _BUILDERS.items():
            files = {split: _shards_in(folder, split, suffix) for split in _SPLITS}
            if files["train"]:
                return builder(data_files={split: found for split, found in files.items() if found}, **options)
        raise CorpusError(f"{folder} holds no shards of the split 'train', such as data/train-00000-of-00001.parquet.")

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Around code that reads rows of `train`. Raises a CorpusError if a shard cannot be read."""
        try:
            yield
        except (pa.ArrowException, OSError, ValueError, DatasetsError, MemoryError) as error:
            if isinstance(error, CGDMERError):
                raise
            raise CorpusError(
                f"{self.name}: a shard of the split train cannot be read ({str(error)[:300]}). Write them again, "
                "or check the connection."
            ) from error

    def rows(self) -> Iterator[dict[str, Any]]:
        """The training rows, shard by shard. Raises a CorpusError if one cannot be read."""
        with self.reading():
            yield from self.train

    @cached_property
    def num_rows(self) -> int | None:
        """The number of training records, from the dataset's card or the shards' footers; None if unknown."""
        stated = (self._builder.info.splits or {}).get("train")
        if stated is not None and stated.num_examples:
            return stated.num_examples
        if self._builder.name == "parquet":
            files = None if self._is_local else HfFileSystem()
            return sum(pq.read_metadata(file, filesystem=files).num_rows for file in self._files["train"])
        if self._is_local:
            return sum(datasets.Dataset.from_file(file).num_rows for file in self._files["train"])
        return None

    def validation(self) -> datasets.Dataset:
        """The validation split, with random access. From the Hub, only its shards are downloaded.

        Raises:
            CorpusError: it lacks a column or cannot be read.
        """
        if self._is_local and (Path(self.name) / "dataset_dict.json").is_file():
            return load_dataset_folder(self.name)["validation"]
        try:
            builder = _BUILDERS[self._builder.name](data_files={"validation": self._files["validation"]})
            builder.download_and_prepare()
            split = builder.as_dataset(split="validation")
        except Exception as error:  # as in __init__
            raise CorpusError(f"{self.name}: the split validation cannot be read ({error}).") from error
        check_columns(split.features, f"{self.name}: the split validation")
        check_rows(split, f"{self.name}: the split validation")
        return split

    @cached_property
    def summary(self) -> dict[str, Any]:
        """As `dataset_summary`."""
        return dataset_summary(self.name)

    def label_counts(self) -> Counter[str]:
        """The number of training records per label.

        Raises:
            ConfigurationError: `summary.json` is missing or has no counts of labels.
        """
        counts = Counter({label: splits.get("train", 0) for label, splits in self.summary.get("labels", {}).items()})
        if not counts.total():
            raise ConfigurationError(
                f"{self.name} has no summary.json with counts of its labels, which --text_source statements needs "
                "with --streaming. Copy it from the prepared folder to the shards, or use --text_source report."
            )
        return counts

    def fingerprints(self, earlier: Fingerprints | None = None) -> Fingerprints:
        """Of all training records. Reads two columns of every shard, but all columns of Arrow files."""
        columns = ["patient_id", "fingerprint"]
        reader = self._open(columns=columns) if self._builder.name == "parquet" else self._builder
        values: dict[str, list[Any]] = {column: [] for column in columns}
        for part in reader.as_streaming_dataset(split="train").select_columns(columns).iter(_ROWS_PER_READ):
            for column in columns:
                values[column].extend(part[column])
        info = datasets.DatasetInfo(
            dataset_name=self.summary.get("source", {}).get("name"),  # the corpus, not the repository
            features=datasets.Features({column: FEATURES[column] for column in columns}),
        )
        return Fingerprints.of(datasets.Dataset.from_dict(values, info=info), earlier)


def dataset_summary(name: str) -> dict[str, Any]:
    """The contents of a prepared folder's or a dataset repository's `summary.json`; empty if there is none.

    Raises:
        CorpusError: it is not a JSON object, or too large.
    """
    if Path(name).is_dir():
        path = Path(name) / "summary.json"
        if not path.is_file():
            return {}
        if not path.resolve().is_relative_to(Path(name).resolve()):
            raise CorpusError(f"{path} is a link that leads out of the dataset's folder. Copy the file there.")
    else:
        try:
            path = Path(hf_hub_download(name, "summary.json", repo_type="dataset"))
        except EntryNotFoundError:
            return {}
    with failing_as(CorpusError, path, "Prepare the dataset again."):
        return read_json_object(path)


def _shards_in(folder: Path, split: str, suffix: str) -> list[str]:
    patterns = (f"{split}/*.{suffix}", f"data/{split}-*.{suffix}", f"{split}-*.{suffix}")
    found = {path for pattern in patterns for path in folder.glob(pattern)}
    # `datasets` puts the cache files of map and filter beside the shards of a loaded folder.
    shards = sorted({path.resolve() for path in found if not path.name.startswith((".", "cache-", "tmp"))})
    for path in shards:
        if not path.is_relative_to(folder.resolve()):
            raise CorpusError(
                f"{folder} holds a link that leads out of it, to {path}. Copy the shards there instead (cp -rL)."
            )
        # `datasets` takes its names for patterns and for chains of addresses.
        if any(sign in str(path) for sign in ("*", "?", "[", "]", "::")):
            raise CorpusError(f"{path}: the name of a shard must not have any of * ? [ ] ::. Rename it.")
        _check_size(path)
    return [str(path) for path in shards]


def _check_size(path: Path) -> None:
    """Refuse a shard that takes far more memory than its file says; a compressed one can unfold to any size."""
    with failing_as(CorpusError, path, "Write the shards again."):
        try:
            if path.suffix == ".arrow":
                refuse_compression(path)
                return
            footer = pq.read_metadata(path)
            largest = max(
                (footer.row_group(group).total_byte_size for group in range(footer.num_row_groups)), default=0
            )
        except (pa.ArrowException, struct.error, MemoryError) as error:
            raise ValueError(str(error)[:300]) from error
        if largest > _LARGEST_ROW_GROUP and largest > _HIGHEST_RATIO * path.stat().st_size:
            raise ValueError(f"a group of its rows unfolds to {largest:,} bytes, from {path.stat().st_size:,}")
