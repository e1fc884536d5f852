# SPDX-License-Identifier: Apache-2.0
"""One table of units, the same for every reader. Units that are uncertain are refused."""

import numpy as np
import pytest

from cgdmer.inference.given_records import ArrayDescription, given_records
from cgdmer.models.clinic_files import in_millivolts
from cgdmer.models.errors import CGDMERError
from cgdmer.models.feature_extraction_ecg import ECGFeatureExtractor
from cgdmer.models.reading_array_file import read_array_file
from cgdmer.models.units import millivolts_per
from cgdmer.models.wfdb_header import read_wfdb_header

SPELLINGS = {
    1e3: ("V", "v", "volt", "Volts", "VOLT"),
    1.0: ("mV", "mv", "millivolt", "MILLIVOLTS", "Millivolt", "milli-volts", "mVolt"),
    1e-3: ("uV", "uv", "UV", "\u00b5V", "\u03bcV", "\u00b5v", "microvolt", "MicroVolts", "MICROVOLTS", "uVolts"),
    1e-6: ("nV", "nv", "nanovolt"),
}
# A megavolt, or a millivolt in capitals; a capital Greek my; units of something else; converter units without a gain.
REFUSED = ("MV", "Mv", "MVolt", "\u039cV", "kV", "", "m", "milli", "mm", "mmHg", "mV/s", "1mV", "adu", "LSB", "counts")
EXPECTED = [(spelling, factor) for factor, spellings in SPELLINGS.items() for spelling in spellings]


def of_array(unit: str, factor: float, folder) -> float:
    signal = np.sin(np.arange(5000) / 20)[None] / factor
    values = ECGFeatureExtractor(fixed_millivolts=1.0)(signal, 500, ["I"], unit)["ecg_values"]
    return float(values.max())


def of_given_array(unit: str, factor: float, folder) -> float:
    array = np.full((1, 1, 500), 1 / factor)
    return given_records(array, ArrayDescription(500, ["I"], unit))[0].signal[0, 0]


def of_clinic_file(unit: str, factor: float, folder) -> float:
    return in_millivolts("file", "scale", 1 / factor, unit)


def of_wfdb(unit: str, factor: float, folder) -> float:
    header = f"record 1 500 5000\nrecord.dat 16 {1000 * factor:.6f}(0)/{unit} 16 0 0 0 0 I\n"
    (folder / "record.hea").write_text(header, encoding="utf-8")
    return read_wfdb_header(folder / "record").leads[0].gain / 1000


def of_table(unit: str, factor: float, folder) -> float:
    (folder / "a.csv").write_text(f"I ({unit})\n" + f"{1 / factor!r}\n" * 100, encoding="utf-8")
    return read_array_file(folder / "a.csv", 500).signal[0, 0]


def of_npy(unit: str, factor: float, folder) -> float:
    np.save(folder / "a.npy", np.full((1, 100), 1 / factor))
    return read_array_file(folder / "a.npy", 500, unit, ["I"]).signal[0, 0]


READERS = pytest.mark.parametrize("read", [of_array, of_given_array, of_clinic_file, of_wfdb, of_table, of_npy])


@READERS
@pytest.mark.parametrize(("unit", "factor"), EXPECTED)
def test_a_millivolt_is_one_in_every_spelling(read, unit, factor, tmp_path):
    assert read(unit, factor, tmp_path) == pytest.approx(1.0, rel=1e-6)


@READERS
@pytest.mark.parametrize("unit", REFUSED)
def test_uncertain_units_are_refused(read, unit, tmp_path):
    if (read, unit) == (of_array, "adu"):
        pytest.skip("with a gain, arrays may be in converter units")
    with pytest.raises(CGDMERError, match=r"unit|gain"):
        read(unit, 1.0, tmp_path)


def test_factors_are_exact():
    assert [millivolts_per(unit) for unit in ("V", "mV", "uV", "nV")] == [1000.0, 1.0, 0.001, 1e-6]
    assert [1 / millivolts_per(unit) for unit in ("V", "mV", "uV")] == [0.001, 1.0, 1000.0]
