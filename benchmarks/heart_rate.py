# SPDX-License-Identifier: Apache-2.0
"""How often the measured heart rate agrees with that of NeuroKit2 on real recordings, and what each costs.

    pip install ".[measure]" neurokit2 && python benchmarks/heart_rate.py FOLDER...

NeuroKit2 looks at the same leads one by one; a beat is what half of them agree on. Recordings that cannot be read are
left out.
"""

import sys
import time
import warnings

import neurokit2
import numpy as np

from cgdmer.inference.sources import open_source
from cgdmer.measurement.heart_rate import measurable_leads, measure_heart_rate
from cgdmer.models.ecg_record import ECGRecord
from cgdmer.models.errors import CGDMERError

TOGETHER_SECONDS, AGREEING_SHARE, TOLERANCE = 0.06, 0.5, 3.0


def rate_of_neurokit(record: ECGRecord) -> float:
    rate, leads, peaks = record.sampling_rate, measurable_leads(record).signal, []
    for lead in leads:
        try:
            clean = neurokit2.ecg_clean(lead, sampling_rate=int(rate))
            peaks.append(neurokit2.ecg_peaks(clean, sampling_rate=int(rate))[1]["ECG_R_Peaks"])
        except Exception as error:  # of many kinds, for leads without peaks
            print(f"{record.record_id}: {type(error).__name__} in a lead", file=sys.stderr)
    if not sum(map(len, peaks)):
        return float("nan")
    pooled = np.sort(np.concatenate(peaks))
    groups = np.split(pooled, np.flatnonzero(np.diff(pooled) > TOGETHER_SECONDS * rate) + 1)
    beats = [np.median(group) for group in groups if len(group) >= AGREEING_SHARE * len(leads)]
    return float(60 * rate / np.diff(beats).mean()) if len(beats) > 2 else float("nan")


def main() -> None:
    warnings.simplefilter("ignore")
    agree, seconds = [], np.zeros(2)
    for folder in sys.argv[1:]:
        source = open_source(folder)
        for number in range(len(source.record_ids)):
            try:
                record = source.records[number]
            except CGDMERError as error:
                print(error, file=sys.stderr)
                continue
            began = time.process_time()
            measured = measure_heart_rate(record)
            between = time.process_time()
            other = rate_of_neurokit(record)
            seconds += between - began, time.process_time() - between
            agree.append(measured is not None and abs(measured.heart_rate - other) <= TOLERANCE)
    ours, theirs = 1000 * seconds / len(agree)
    print(
        f"{len(agree)} recordings: {np.mean(agree):.1%} within {TOLERANCE:g}/min; CPU {ours:.1f} and {theirs:.1f} ms"
    )


if __name__ == "__main__":
    main()
