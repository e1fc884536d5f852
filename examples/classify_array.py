# SPDX-License-Identifier: Apache-2.0
"""Score findings for a signal in memory: four leads, 400 Hz, microvolts.

    python examples/classify_array.py [MODEL]

MODEL is a folder written by `cgdmer demo` or `cgdmer.pretrain`. The default is the model that comes with the package.
The signal is simulated here. To use your own, load it with `np.load("signal.npy")` or `np.loadtxt("signal.csv",
delimiter=",").T`, with the leads as rows.
"""

import sys

from transformers import pipeline

import cgdmer  # noqa: F401 (registers the pipeline)
from cgdmer import simulate_record
from cgdmer.presets import SHIPPED_MODEL

record = simulate_record(["atrial_fibrillation"], seed=1, sampling_rate=400)
leads = ["II", "V1", "V5", "I"]
signal_in_microvolts = record.signal[[record.lead_names.index(lead) for lead in leads]] * 1000

classify = pipeline("zero-shot-ecg-classification", model=sys.argv[1] if len(sys.argv) > 1 else str(SHIPPED_MODEL))
scores = classify(
    signal_in_microvolts,
    sampling_rate=400,
    lead_names=leads,
    unit="uV",
    candidate_labels=["atrial fibrillation", "sinus rhythm", "left bundle branch block"],
)
for row in scores:
    print(f"{row['score']:6.1%}  {row['label']}")
print("Research use only. Not a medical device.")
