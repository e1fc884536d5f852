# SPDX-License-Identifier: Apache-2.0
"""The corpora by name."""

from cgdmer.data.corpus import Corpus
from cgdmer.data.cpsc2018 import CPSC2018
from cgdmer.data.csn import CSN
from cgdmer.data.mimic_iv_ecg import MIMIC_IV_ECG
from cgdmer.data.ptbxl import PTBXL
from cgdmer.data.wfdb_folder import WFDB_FOLDER

CORPORA: dict[str, Corpus] = {
    corpus.source.name: corpus for corpus in (MIMIC_IV_ECG, PTBXL, CPSC2018, CSN, WFDB_FOLDER)
}

__all__ = ["CORPORA"]
