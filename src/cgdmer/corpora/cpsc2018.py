# SPDX-License-Identifier: Apache-2.0
"""CPSC 2018: 6,877 twelve-lead records of 6 to 144 s at 500 Hz, with SNOMED CT codes for nine classes.

In the form published by the PhysioNet/CinC challenges of 2020 and 2021: `A0001.hea` and `.mat`, at any depth, in
folders `g1`, `g2`, ... or not. Records named `Q0001` and so on are the challenges' CPSC-Extra, 3,453 records with a
wider vocabulary. They are read too if the folder contains them: to leave them out, pass the folder `cpsc_2018`. For
what is read from a header, see `cgdmer.corpora.snomed`. Patients are unknown, so records are split one by one.
"""

from cgdmer.corpora.corpus import Corpus, Download, Source
from cgdmer.corpora.snomed import read_snomed_row, rows_of_folder

CPSC2018 = Corpus(
    source=Source(
        name="cpsc2018",
        title="China Physiological Signal Challenge 2018, as in the PhysioNet/CinC Challenge 2021",
        version="1.0.3",
        url="https://physionet.org/content/challenge-2021/1.0.3/",
        license="CC BY 4.0",
        citation="Liu F, Liu C, Zhao L, Zhang X, Wu X, Xu X, Liu Y, Ma C, Wei S, He Z, Li J, Ng Kwee EY. An open "
        "access database for evaluating the algorithms of electrocardiogram rhythm and morphology abnormality "
        "detection. Journal of Medical Imaging and Health Informatics 8, 1368-1373 (2018). "
        "https://doi.org/10.1166/jmihi.2018.2442. Reyna MA et al. Will two do? Varying dimensions in "
        "electrocardiography: the PhysioNet/Computing in Cardiology Challenge 2021. https://doi.org/10.13026/34va-7q14",
    ),
    splits="70 % train, 10 % validation, 20 % test, by a hash of the record's name; patients are not known.",
    rows=rows_of_folder(r"[AQ]\d{4}", "A0001"),
    read=read_snomed_row,
    download=Download("challenge-2021/1.0.3", folder="training/cpsc_2018/", suffixes=(".hea", ".mat")),
)
