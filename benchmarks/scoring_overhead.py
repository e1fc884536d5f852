# SPDX-License-Identifier: Apache-2.0
"""`cgdmer score` on a folder of WFDB records, compared with the bare encoder on prepared tensors.

    OMP_NUM_THREADS=1 python benchmarks/scoring_overhead.py [--num_records 500] [--num_proc 1]

Uses the packaged model, simulated recordings of twelve leads and ten seconds at 500 Hz, and 20 labels. Other processes
read and prepare the records. With one thread, only the CPU time of the main process is measured, which does not
include them; `reading` shows separately what they need per record. The time of `score` includes loading the model and
encoding the labels. This is subtracted, measured as the time for a folder with one record. Target: at least 0.85 times
as fast as the bare encoder.
"""

import argparse
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import torch
import wfdb
from machine import best_seconds, print_figures
from transformers import AutoProcessor

from cgdmer.inference.scoring import score_recordings
from cgdmer.inference.sources import open_source
from cgdmer.models.modeling_cgdmer import CGDMERForZeroShot
from cgdmer.presets import SHIPPED_MODEL
from cgdmer.simulation.cohort import simulate_cohort


def write_folder(folder: Path, num_records: int) -> Path:
    folder.mkdir()
    for number, record in enumerate(islice(simulate_cohort(num_records, sampling_rate=500), num_records)):
        wfdb.wrsamp(
            f"record{number:05d}",
            fs=record.sampling_rate,
            units=["mV"] * 12,
            sig_name=list(record.lead_names),
            p_signal=record.signal.T.astype(np.float64),
            fmt=["16"] * 12,
            write_dir=str(folder),
        )
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--num_records", type=int, default=500)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--num_proc", type=int, default=1)
    parser.add_argument("--num_labels", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    labels = [f"finding number {number}" for number in range(options.num_labels)]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    processor = AutoProcessor.from_pretrained(SHIPPED_MODEL)
    model = CGDMERForZeroShot.from_pretrained(SHIPPED_MODEL).to(device).eval()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        many, one = write_folder(work / "many", options.num_records), write_folder(work / "one", 1)
        records = open_source(many).records
        features = processor(ecg=[records[number] for number in range(len(records))], return_tensors="pt").to(device)

        @torch.inference_mode()
        def encode() -> None:
            for start in range(0, len(records), options.batch_size):
                model.ecg_model(**{name: part[start : start + options.batch_size] for name, part in features.items()})

        def score(folder: Path) -> None:
            output = work / "scores.parquet"
            score_recordings(folder, output, labels, batch_size=options.batch_size, num_proc=options.num_proc)
            output.unlink()

        seconds = best_seconds(
            {
                "score": lambda: score(many),
                "score_one": lambda: score(one),
                "reading": lambda: [processor(ecg=records[number]) for number in range(len(records))],
                "encoder": encode,
            },
            options.rounds,
        )
    scoring = seconds["score"] - seconds["score_one"]
    speed = seconds["encoder"] / scoring
    print_figures(
        {
            "records": len(records),
            "batch_size": options.batch_size,
            "num_proc": options.num_proc,
            "seconds_to_start": seconds["score_one"],
            "milliseconds_per_ecg": {
                "score": 1e3 * scoring / len(records),
                "reading": 1e3 * seconds["reading"] / len(records),
                "encoder": 1e3 * seconds["encoder"] / len(records),
            },
            "speed_of_the_encoder": speed,
            "at_least_85_percent": speed >= 0.85,
        }
    )


if __name__ == "__main__":
    main()
