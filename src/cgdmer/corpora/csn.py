# SPDX-License-Identifier: Apache-2.0
"""Chapman-Shaoxing-Ningbo (CSN): 45,152 twelve-lead records of 10 s at 500 Hz, one per patient, with SNOMED CT codes.

A folder as downloaded from PhysioNet (`WFDBRecords/01/010/JS00001.hea` and `.mat`), or any folder of such records, at
any depth. For what is read from a header, see `cgdmer.corpora.snomed`. Since each patient has one record, records are
split by name.
"""

from cgdmer.corpora.corpus import Corpus, Download, Source
from cgdmer.corpora.snomed import read_snomed_row, rows_of_folder

CSN = Corpus(
    source=Source(
        name="csn",
        title="A large scale 12-lead electrocardiogram database for arrhythmia study (Chapman-Shaoxing-Ningbo)",
        version="1.0.0",
        url="https://physionet.org/content/ecg-arrhythmia/1.0.0/",
        license="CC BY 4.0",
        citation="Zheng J, Guo H, Chu H. A large scale 12-lead electrocardiogram database for arrhythmia study. "
        "PhysioNet (2022). https://doi.org/10.13026/wgex-er52. Zheng J, Chu H, Struppa D, Zhang J, Yacoub SM, "
        "El-Askary H, Chang A, Ehwerhemuepha L, Abudayyeh I, Barrett A, Fu G, Yao H, Li D, Guo H, Rakovski C. Optimal "
        "Multi-Stage Arrhythmia Classification Approach. Scientific Reports 10, 2898 (2020). "
        "https://doi.org/10.1038/s41598-020-59821-7",
    ),
    splits="70 % train, 10 % validation, 20 % test, by a hash of the record's name; each patient has one record.",
    rows=rows_of_folder(r"JS\d{5}", "JS00001"),
    read=read_snomed_row,
    download=Download("ecg-arrhythmia/1.0.0", suffixes=(".hea", ".mat")),
)
