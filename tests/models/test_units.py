# SPDX-License-Identifier: Apache-2.0
"""One table of units. Each reader accepts its own spellings and refuses the rest."""

import numpy as np
import pytest

from cgdmer.models.clinic_files import in_millivolts
from cgdmer.models.errors import CGDMERError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.units import MILLIVOLTS_PER_UNIT
from cgdmer.models.wfdb_header import read_wfdb_header

MICRO, MU = "\u00b5V", "\u03bcV"
ARRAYS = {"mV", "uV", MICRO, MU, "V"}
OTHERS = {"MV", "mv", "uv", "nV", "NV", "kV", ""}


def of_array(unit: str, folder) -> float:
    signal = np.sin(np.arange(5000) / 20)[None] / MILLIVOLTS_PER_UNIT.get(unit, 1.0)
    values = ECGFeatureExtractor(fixed_millivolts=1.0)(signal, 500, ["I"], unit)["ecg_values"]
    return float(values.max())


def of_clinic_file(unit: str, folder) -> float:
    return in_millivolts("file", "scale", 1 / MILLIVOLTS_PER_UNIT.get(unit, 1.0), unit)


def of_wfdb(unit: str, folder) -> float:
    gain = 1000 * MILLIVOLTS_PER_UNIT.get(unit, 1.0)
    (folder / "record.hea").write_text(f"record 1 500 5000\nrecord.dat 16 {gain:.6f}(0)/{unit} 16 0 0 0 0 I\n")
    return read_wfdb_header(folder / "record").leads[0].gain / 1000


@pytest.mark.parametrize(
    ("read", "accepted"),
    [(of_array, ARRAYS), (of_clinic_file, ARRAYS | {"nV"}), (of_wfdb, ARRAYS | {"mv", "uv"})],
)
def test_each_reader_accepts_only_its_spellings_and_a_millivolt_is_one(read, accepted, tmp_path):
    for unit in sorted(ARRAYS | OTHERS):
        if unit in accepted:
            assert read(unit, tmp_path) == pytest.approx(1.0, rel=1e-6)
        else:
            with pytest.raises(CGDMERError, match="unit"):
                read(unit, tmp_path)


def test_factors_are_exact():
    assert MILLIVOLTS_PER_UNIT == {
        **{"V": 1000.0, "mV": 1.0, "mv": 1.0, "uV": 0.001, "uv": 0.001, MICRO: 0.001, MU: 0.001, "nV": 1e-6},
    }
    assert [1 / MILLIVOLTS_PER_UNIT[unit] for unit in ("V", "mV", "uV")] == [0.001, 1.0, 1000.0]
