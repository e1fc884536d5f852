# SPDX-License-Identifier: Apache-2.0
"""CPU time of the command line: its help, and `cgdmer classify` compared with the shortest equivalent script.

    python benchmarks/starting.py [--repeats 5]

Each figure is the minimum of several runs. The script imports only transformers and torch. It loads the folder of the
same model, with the code that `save_pretrained` wrote next to the weights.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import print_figures
from transformers import AutoModelForZeroShotImageClassification, AutoProcessor

from cgdmer import simulate_record
from cgdmer.commands import COMMANDS
from cgdmer.presets import SHIPPED_MODEL

LABELS = ["atrial fibrillation", "left bundle branch block", "normal ECG"]
SCRIPT = """
import sys
from transformers import pipeline
classify = pipeline("zero-shot-ecg-classification", model=sys.argv[1], trust_remote_code=True)
print(classify(sys.argv[2], candidate_labels=sys.argv[3:]))
"""


def cpu_seconds(command: list[str], repeats: int, exit_status: int = 0) -> float:
    """The minimum of several runs, user plus system time. A run that ends in another way is an error, not a figure."""
    found = []
    for _ in range(repeats):
        before = os.times()
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        after = os.times()
        if done.returncode != exit_status:
            sys.exit(f"{command} ended with {done.returncode}:\n{done.stderr}")
        found.append(
            after.children_user + after.children_system - before.children_user - before.children_system,
        )
    return min(found)


def write_record(folder: Path) -> Path:
    import wfdb

    record = simulate_record(["atrial_fibrillation"], seed=1)
    names, rate = list(record.lead_names), int(record.sampling_rate)
    wfdb.wrsamp("record", rate, ["mV"] * 12, names, record.signal.T.astype(float), write_dir=str(folder))
    return folder / "record"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args(arguments).repeats
    cgdmer = [sys.executable, "-m", "cgdmer"]
    nothing = cpu_seconds([sys.executable, "-c", "pass"], repeats)
    helps = {"--help": cpu_seconds([*cgdmer, "--help"], repeats)}
    for module in COMMANDS:
        name = module.__name__.rpartition(".")[2]
        helps[name] = cpu_seconds([*cgdmer, name, "--help"], repeats)
    helps["a wrong option"] = cpu_seconds([*cgdmer, "classify", "--wrong"], repeats, exit_status=2)
    with tempfile.TemporaryDirectory() as place:
        folder, record = Path(place, "model"), str(write_record(Path(place)))
        AutoModelForZeroShotImageClassification.from_pretrained(SHIPPED_MODEL).save_pretrained(folder)
        AutoProcessor.from_pretrained(SHIPPED_MODEL).save_pretrained(folder)
        script = cpu_seconds([sys.executable, "-c", SCRIPT, str(folder), record, *LABELS], repeats)
        classify = cpu_seconds([*cgdmer, "classify", record, "--model", str(folder), "--labels", *LABELS], repeats)
    print_figures(
        {
            "help, seconds more than `python -c pass`": {name: seconds - nothing for name, seconds in helps.items()},
            "classify": classify,
            "script": script,
            "classify over script": classify / script,
        }
    )


if __name__ == "__main__":
    main()
