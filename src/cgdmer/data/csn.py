# SPDX-License-Identifier: Apache-2.0
"""Chapman-Shaoxing-Ningbo (CSN): 45,152 twelve-lead records of 10 s at 500 Hz, one a patient, with SNOMED CT codes.

A folder as it comes from PhysioNet (`WFDBRecords/01/010/JS00001.hea` and `.mat`), or any folder of such records, at
any depth. What becomes of a header: see `cgdmer.data.snomed`. Each patient has one record, so the record's name
stands for the patient in dividing them.
"""

from cgdmer.data.corpus import Corpus, Source
from cgdmer.data.snomed import read_snomed_row, rows_of_folder

CSN = Corpus(
    source=Source(
        name="csn",
        title="A large scale 12-lead electrocardiogram database for arrhythmia study (Chapman-Shaoxing-Ningbo)",
        version="1.0.0",
        url="https://physionet.org/content/ecg-arrhythmia/1.0.0/",
        licence="CC BY 4.0",
        citation="Zheng J, Guo H, Chu H. A large scale 12-lead electrocardiogram database for arrhythmia study. "
        "PhysioNet (2022). https://doi.org/10.13026/wgex-er52. Zheng J, Zhang J, Danioko S, Yao H, Guo H, Rakovski C. "
        "A 12-lead electrocardiogram database for arrhythmia research covering more than 10,000 patients. Scientific "
        "Data 7, 48 (2020). https://doi.org/10.1038/s41597-020-0386-x",
    ),
    splits="70 % train, 10 % validation, 20 % test, by a hash of the record's name; each patient has one record.",
    rows=rows_of_folder(r"JS\d{5}", "JS00001"),
    read=read_snomed_row,
)

__all__ = ["CSN"]
