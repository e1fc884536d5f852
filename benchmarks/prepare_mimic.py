# SPDX-License-Identifier: Apache-2.0
"""Cost of `cgdmer prepare mimic-iv-ecg`: records per second, peak memory, bytes per record, total hours and disk.

    python benchmarks/prepare_mimic.py PTB_XL_DIR WORK_DIR [--num_records 20000]

Writes real 500 Hz signals of PTB-XL in the layout of MIMIC-IV-ECG. On some of them, it times a plain loop of
`wfdb.rdsamp`, a check for NaN, and `numpy.save`. Then it times `prepare` with one and two processes. Compare the
ratios: seconds depend on the machine.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import wfdb
from machine import print_figures

RECORDS_OF_MIMIC = 800_035
MIMIC_ORDER = ("I", "II", "III", "aVR", "aVF", "aVL", "V1", "V2", "V3", "V4", "V5", "V6")
UNITS_PER_MILLIVOLT = 200
LOOP_RECORDS = 2000


def lay_out(ptbxl: Path, folder: Path, num_records: int) -> list[Path]:
    """Write the folders and the two tables. Returns the paths of the records, without suffix."""
    signals = []
    for header in sorted((ptbxl / "records500").rglob("*.hea")):
        values, fields = wfdb.rdsamp(str(header.with_suffix("")))
        names = [name.upper() for name in fields["sig_name"]]
        order = [names.index(name.upper()) for name in MIMIC_ORDER]
        signals.append(np.clip(np.rint(values[:, order] * UNITS_PER_MILLIVOLT), -32767, 32767).astype("<i2"))
    paths = []
    with open(folder / "record_list.csv", "w") as records, open(folder / "machine_measurements.csv", "w") as reports:
        records.write("subject_id,study_id,file_name,ecg_time,path\n")
        columns = ",".join(f"report_{number}" for number in range(18))
        reports.write(f"subject_id,study_id,cart_id,ecg_time,{columns},bandwidth,filtering\n")
        for number in range(num_records):
            counts = signals[number % len(signals)]
            subject, study = 10_000_000 + number // 5, 40_000_000 + number
            path = Path("files") / f"p{subject // 10_000}" / f"p{subject}" / f"s{study}" / str(study)
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).with_suffix(".dat").write_bytes(counts.tobytes())
            lines = [f"{study} 12 500 {len(counts)}"]
            for lead, column in zip(MIMIC_ORDER, counts.T, strict=True):
                checksum = int(column.astype(np.int64).sum()) % 65536
                lines.append(f"{study}.dat 16 {UNITS_PER_MILLIVOLT}.0(0)/mV 16 0 {column[0]} {checksum} 0 {lead}")
            (folder / path).with_suffix(".hea").write_text("\n".join(lines) + "\n")
            records.write(f"{subject},{study},{study},2150-01-01 00:00:00,{path}\n")
            said = ["Sinus rhythm", "Possible left atrial abnormality", "Borderline ECG"] + [""] * 15
            reports.write(f"{subject},{study},1,2150-01-01 00:00:00,{','.join(said)},0.005-150 Hz,60 Hz notch\n")
            paths.append(folder / path)
    return paths


def plain_loop(paths: list[Path], folder: Path) -> float:
    """Records per second of a script without this package."""
    folder.mkdir()
    started = time.perf_counter()
    for number, path in enumerate(paths):
        values, _ = wfdb.rdsamp(str(path))
        if not np.isnan(values).any():
            np.save(folder / f"{number}.npy", values.astype(np.float32))
    return len(paths) / (time.perf_counter() - started)


def prepare(raw: Path, output: Path, num_proc: int) -> tuple[float, float]:
    """Seconds, and the peak memory of the largest process in GB."""
    command = [sys.executable, "-m", "cgdmer", "prepare", "mimic-iv-ecg", str(raw), str(output)]
    started = time.perf_counter()
    subprocess.run([*command, "--num_proc", str(num_proc)], check=True, capture_output=True)
    seconds = time.perf_counter() - started
    return seconds, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("ptbxl", type=Path)
    parser.add_argument("work", type=Path)
    parser.add_argument("--num_records", type=int, default=20_000)
    options = parser.parse_args()
    raw = options.work / "mimic"
    raw.mkdir(parents=True)
    paths = lay_out(options.ptbxl, raw, options.num_records)
    answer: dict[str, float] = {"records": len(paths)}
    answer["plain_loop_records_per_second"] = plain_loop(paths[:LOOP_RECORDS], options.work / "loop")
    shutil.rmtree(options.work / "loop")
    for num_proc in (1, 2):
        output = options.work / f"prepared{num_proc}"
        seconds, answer["peak_memory_gigabytes"] = prepare(raw, output, num_proc)
        answer[f"records_per_second_{num_proc}_processes"] = len(paths) / seconds
    shards = list((options.work / "prepared1").rglob("*.arrow"))
    answer["bytes_per_record"] = sum(path.stat().st_size for path in shards) / len(paths)
    answer["two_processes_over_one"] = (
        answer["records_per_second_2_processes"] / answer["records_per_second_1_processes"]
    )
    answer["one_process_over_plain_loop"] = (
        answer["records_per_second_1_processes"] / answer["plain_loop_records_per_second"]
    )
    answer["hours_for_mimic_two_processes"] = RECORDS_OF_MIMIC / answer["records_per_second_2_processes"] / 3600
    answer["gigabytes_for_mimic"] = RECORDS_OF_MIMIC * answer["bytes_per_record"] / 1e9
    print_figures(answer)


if __name__ == "__main__":
    main()
