# SPDX-License-Identifier: Apache-2.0
"""Recordings as files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import wfdb

from cgdmer.models.ecg_record import ECGRecord


def with_frank_leads(record: ECGRecord) -> ECGRecord:
    """Fifteen channels, as in the PTB Diagnostic ECG Database: the leads in small letters, then vx, vy and vz."""
    names = (*(name.lower() for name in record.lead_names), "vx", "vy", "vz")
    signal = np.concatenate([record.signal, 2 * record.signal[[0, 5, 7]]])
    return replace(record, signal=signal, lead_names=names)


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
