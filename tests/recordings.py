# SPDX-License-Identifier: Apache-2.0
"""Recordings as files."""

from pathlib import Path

import numpy as np
import wfdb

from cgdmer.models.ecg_record import ECGRecord


def write_wfdb(record: ECGRecord, path: Path) -> Path:
    """The path without suffix, by which the record is named."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = len(record.lead_names)
    wfdb.wrsamp(
        path.name,
        fs=record.sampling_rate,
        units=["mV"] * count,
        sig_name=list(record.lead_names),
        p_signal=record.signal.T.astype(np.float64),
        fmt=["16"] * count,
        adc_gain=[1000.0] * count,
        baseline=[0] * count,
        write_dir=str(path.parent),
    )
    return path
