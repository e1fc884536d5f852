# SPDX-License-Identifier: Apache-2.0
"""How far measured intervals are from the truth of simulated hearts, ours and NeuroKit2's, and what each costs.

    pip install ".[measure]" neurokit2 pywavelets && python benchmarks/intervals.py [--seeds 8] [PTB_XL_FOLDER]

The truth is what the simulator was told; a QRS complex that begins and ends with zero slope is seen a few milliseconds
shorter. NeuroKit2 delineates each lead
by itself (by wavelets); the median over leads and beats is taken. With a folder of PTB-XL with recordings of 500 Hz,
also how well intervals and axis tell the records that cardiologists gave the statement defined by them.
"""

import argparse
import ast
import sys
import time
import warnings
from pathlib import Path

import neurokit2
import numpy as np
import pandas
from sklearn.metrics import roc_auc_score

from cgdmer import read_wfdb
from cgdmer.measurement.heart_rate import measurable_leads
from cgdmer.measurement.intervals import measure_intervals
from cgdmer.models.ecg_record import ECGRecord

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "simulation"))
from told import simulate_told

CONDITIONS = ("sinus_rhythm", "sinus_tachycardia", "sinus_bradycardia", "left_bundle_branch_block")
CONDITIONS += ("right_bundle_branch_block", "first_degree_av_block", "left_ventricular_hypertrophy")
CONDITIONS += ("left_anterior_fascicular_block", "inferior_infarction", "t_wave_inversion", "low_voltage")
CONDITIONS += ("premature_ventricular_beats", "atrial_fibrillation")
INTERVALS = ("pr_interval", "qrs_duration", "qt_interval")
# The statement, the measure that defines it, and its sign.
STATEMENTS = ({"CLBBB", "CRBBB"}, "qrs_duration", 1), ({"1AVB"}, "pr_interval", 1), ({"LAFB"}, "axis", -1)
STATEMENTS += (({"LNGQT"}, "qtc_interval", 1),)


def by_neurokit(record: ECGRecord) -> dict[str, float]:
    rate, found = int(record.sampling_rate), {name: [] for name in INTERVALS}
    for lead in measurable_leads(record).signal:
        try:
            clean = neurokit2.ecg_clean(lead, rate)
            peaks = neurokit2.ecg_peaks(clean, rate)[1]["ECG_R_Peaks"]
            waves = neurokit2.ecg_delineate(clean, peaks, rate, method="dwt")[1]
        except Exception as error:  # of many kinds, for leads without peaks
            print(f"{record.record_id}: {type(error).__name__} in a lead", file=sys.stderr)
            continue
        p, begin, end, t = (
            np.array(waves[f"ECG_{name}"], dtype=float) for name in ("P_Onsets", "R_Onsets", "R_Offsets", "T_Offsets")
        )
        for name, first, last in zip(INTERVALS, (p, begin, begin), (begin, end, t), strict=True):
            count = min(len(first), len(last))
            found[name] += list((last[:count] - first[:count]) / rate)
    return {name: float(np.nanmedian(values)) if values else float("nan") for name, values in found.items()}


def by_typical_beat(record: ECGRecord) -> dict[str, float]:
    found = measure_intervals(record)
    return {name: float("nan") if found is None else getattr(found, name) or float("nan") for name in INTERVALS}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("ptb_xl", nargs="?")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    records = [simulate_told(condition, seed) for condition in CONDITIONS for seed in range(options.seeds)]
    for name, how in (("typical beat", by_typical_beat), ("NeuroKit2", by_neurokit)):
        began = time.process_time()
        found = [how(record) for record, _ in records]
        milliseconds = 1000 * (time.process_time() - began) / len(records)
        print(f"{name}: {len(records)} simulated records, CPU {milliseconds:.0f} ms each")
        for interval in INTERVALS:
            true = np.array([told[interval] for _, told in records])
            errors = (1000 * (np.array([one[interval] for one in found]) - true))[np.isfinite(true)]
            missing, known = np.isnan(errors).mean(), errors[np.isfinite(errors)]
            ends = np.percentile(known, [2.5, 97.5])
            print(
                f"  {interval:13} error {np.median(known):+4.0f} ms, 95 % within {ends[0]:+.0f} to {ends[1]:+.0f}; "
                f"within 20 ms {np.mean(np.abs(known) <= 20):.1%}, 30 ms {np.mean(np.abs(known) <= 30):.1%}; "
                f"not found {missing:.1%}"
            )
    if options.ptb_xl:
        real(Path(options.ptb_xl))


def real(folder: Path) -> None:
    table = pandas.read_csv(folder / "ptbxl_database.csv")
    rows = []
    for line in table.itertuples():
        if (folder / f"{line.filename_hr}.hea").is_file():
            found = measure_intervals(read_wfdb(folder / line.filename_hr))
            if found is not None:
                rows.append({"codes": set(ast.literal_eval(line.scp_codes)), **found.as_json()})
    frame = pandas.DataFrame(rows)
    print(f"PTB-XL at 500 Hz: {len(frame)} records; medians {frame[list(INTERVALS)].median().to_dict()}")
    for codes, name, sign in STATEMENTS:
        known = frame[frame[name].notna()]
        held = known["codes"].map(lambda own, codes=codes: bool(own & codes))
        if held.any():
            auroc = roc_auc_score(held, sign * known[name].astype(float))
            print(f"  {' or '.join(sorted(codes))}: {held.sum()} records, AUROC of {name} {auroc:.3f}")
    for code in ("SR", "AFIB", "AFLT"):
        of_code = frame[frame["codes"].map(lambda own, code=code: code in own)]
        print(f"  {code}: a P wave in {of_code['pr_interval'].notna().mean():.1%} of {len(of_code)}")


if __name__ == "__main__":
    main()
