# SPDX-License-Identifier: Apache-2.0
"""Simulated records together with what the simulator was told about their intervals."""

from cgdmer.models.ecg_record import ECGRecord
from cgdmer.simulation import cohort, ventricles


def simulate_told(condition: str, seed: int, sampling_rate: int = 500) -> tuple[ECGRecord, dict[str, float]]:
    """A record, and its `pr_interval` (NaN without P waves), `qrs_duration`, and `qt_interval` in seconds.

    A wave begins and ends with zero slope, so what can be seen of the QRS complex is a few milliseconds shorter.
    """
    told = {"pr_interval": float("nan")}
    ventricular_waves, p_waves, activation = cohort.ventricular_waves, cohort.p_waves, ventricles._activation

    def kept_duration(conditions, anatomy, duration, *others):
        told["qrs_duration"] = duration
        return activation(conditions, anatomy, duration, *others)

    def kept_end(*arguments):
        waves, told["qt_interval"] = ventricular_waves(*arguments)
        return waves, told["qt_interval"]

    def kept_pr(anatomy, pr_interval, *arguments):
        told["pr_interval"] = pr_interval
        return p_waves(anatomy, pr_interval, *arguments)

    cohort.ventricular_waves, cohort.p_waves, ventricles._activation = kept_end, kept_pr, kept_duration
    try:
        return cohort.simulate_record([condition], seed=seed, sampling_rate=sampling_rate), told
    finally:
        cohort.ventricular_waves, cohort.p_waves, ventricles._activation = ventricular_waves, p_waves, activation
