# SPDX-License-Identifier: Apache-2.0
"""The web page: time from dropping a recording to its scores in headless Chromium, compared with Python.

    python benchmarks/page.py [--rounds 5]

Needs the extra `app`, playwright (`pip install playwright`), and a Chromium installed on the system. The recording is
simulated: twelve leads, ten seconds, WFDB. Each round reloads the page. Target: scores within 3 seconds on two
cores.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

import wfdb
from machine import best_seconds, print_figures
from playwright.sync_api import sync_playwright

from cgdmer.app.page import build_page, launch_page
from cgdmer.inference.scorers import load_scorer
from cgdmer.simulation.cohort import simulate_record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    record, scorer = simulate_record(["atrial_fibrillation"], seed=1), load_scorer()
    page = build_page(scorer)
    _, address, _ = launch_page(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started:
        wfdb.wrsamp(
            "one",
            fs=record.sampling_rate,
            units=["mV"] * 12,
            sig_name=list(record.lead_names),
            p_signal=record.signal.T.astype(float),
            fmt=["16"] * 12,
            write_dir=folder,
        )
        files = [str(Path(folder) / name) for name in ("one.hea", "one.dat")]
        browser = started.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        seconds = [drop_to_scores(browser, address, files) for _ in range(options.rounds)]
        browser.close()
    page.close(verbose=False)
    labels = ["atrial fibrillation", "normal ECG"]
    alone = best_seconds({"scores": lambda: scorer(record, labels)}, options.rounds, time.perf_counter)["scores"]
    print_figures(
        {
            "seconds_from_drop_to_scores": {"first": seconds[0], "median": statistics.median(seconds)},
            "longest_seconds": max(seconds),
            "seconds_in_python": alone,
            "median_against_python": statistics.median(seconds) / alone,
        }
    )


def drop_to_scores(browser, address: str, files: list[str]) -> float:
    page = browser.new_page()
    page.goto(address)
    page.wait_for_selector("#score")
    start = time.perf_counter()
    page.set_input_files("#files input[type=file]", files)
    page.wait_for_selector("#bars .bars")
    taken = time.perf_counter() - start
    page.close()
    return taken


if __name__ == "__main__":
    main()
