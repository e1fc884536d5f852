# SPDX-License-Identifier: Apache-2.0
import ast
from collections.abc import Iterable
from dataclasses import replace

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from cgdmer.data.storage import FEATURES, SPLITS, record_to_row
from cgdmer.models.ecg_record import ECGRecord

FLAT = ECGRecord(np.zeros((1, 4), dtype=np.float32), 500.0, ("I",), gain=(1000.0,))


def dataset_of(rows: Iterable[tuple[str, str | None, Iterable[str], str]]) -> datasets.DatasetDict:
    """A prepared dataset of (record, patient, labels, split), with signals of four samples."""
    by_split: dict[str, list[dict]] = {name: [] for name in SPLITS}
    for record_id, patient_id, labels, split in rows:
        record = replace(FLAT, record_id=record_id, patient_id=patient_id, labels=tuple(labels))
        by_split[split].append(record_to_row(record))
    return datasets.DatasetDict(
        {name: datasets.Dataset(pa.Table.from_pylist(rows, FEATURES.arrow_schema)) for name, rows in by_split.items()}
    )


@pytest.fixture(scope="session")
def make_dataset():
    return dataset_of


@pytest.fixture(scope="session")
def ptbxl_table(real_data):
    """The 4,072 real rows: ecg_id, patient_id, strat_fold, codes."""
    table = pd.read_csv(real_data / "ptb-xl-subset" / "ptbxl_database.csv")
    return table.assign(
        ecg_id=table["ecg_id"].astype(str),
        patient_id=table["patient_id"].astype(int).astype(str),
        codes=[tuple(ast.literal_eval(codes)) for codes in table["scp_codes"]],
    )[["ecg_id", "patient_id", "strat_fold", "codes"]]


@pytest.fixture(scope="session")
def ptbxl_dataset(ptbxl_table):
    split_of = {fold: "train" for fold in range(1, 9)} | {9: "validation", 10: "test"}
    return dataset_of(
        (row.ecg_id, row.patient_id, row.codes, split_of[row.strat_fold]) for row in ptbxl_table.itertuples()
    )
