# SPDX-License-Identifier: Apache-2.0
"""Which codes of a corpus belong to which class: the corpora's own tables, which prepared datasets do not include.

Sources: PTB-XL's `scp_statements.csv`; CSN's `ConditionNames_SNOMED-CT.csv`; for CPSC2018, the SNOMED CT codes that
the PhysioNet/CinC Challenge 2020 assigned to its nine classes.
"""

from collections.abc import Mapping

# PTB-XL's diagnostic statements: superclass -> subclass -> codes. Subclasses are spelled as in the released label
# columns, without the underscores of `diagnostic_subclass` (_AVB, ISC_, NST_).
_PTBXL_DIAGNOSTIC = {
    "NORM": {"NORM": "NORM"},
    "MI": {
        "AMI": "AMI ASMI ALMI INJAS INJAL INJLA",
        "IMI": "IMI ILMI IPMI IPLMI INJIN INJIL",
        "LMI": "LMI",
        "PMI": "PMI",
    },
    "STTC": {
        "ISC": "ISC_",
        "ISCA": "ISCAL ISCAN ISCAS ISCLA",
        "ISCI": "ISCIN ISCIL",
        "NST": "NST_",
        "STTC": "NDT DIG LNGQT ANEUR EL",
    },
    "CD": {
        "AVB": "1AVB 2AVB 3AVB",
        "CLBBB": "CLBBB",
        "CRBBB": "CRBBB",
        "ILBBB": "ILBBB",
        "IRBBB": "IRBBB",
        "IVCD": "IVCD",
        "LAFB/LPFB": "LAFB LPFB",
        "WPW": "WPW",
    },
    "HYP": {"LAO/LAE": "LAO/LAE", "LVH": "LVH", "RAO/RAE": "RAO/RAE", "RVH": "RVH", "SEHYP": "SEHYP"},
}
_PTBXL_FORM = "NDT NST_ DIG LNGQT ABQRS PVC STD_ VCLVH QWAVE LOWT NT_ PAC LPR INVT LVOLT HVOLT TAB_ STE_ PRC(S)"
_PTBXL_RHYTHM = "SR AFIB STACH SARRH SBRAD PACE SVARR BIGU AFLT SVTAC PSVT TRIGU"

# Each of the following: code -> class.
PTBXL_SUPERCLASS_OF: Mapping[str, str] = {
    code: superclass
    for superclass, subclasses in _PTBXL_DIAGNOSTIC.items()
    for codes in subclasses.values()
    for code in codes.split()
}
PTBXL_SUBCLASS_OF: Mapping[str, str] = {
    code: subclass
    for subclasses in _PTBXL_DIAGNOSTIC.values()
    for subclass, codes in subclasses.items()
    for code in codes.split()
}
PTBXL_FORM_OF: Mapping[str, str] = {code: code.strip("_") for code in _PTBXL_FORM.split()}
PTBXL_RHYTHM_OF: Mapping[str, str] = {code: code for code in _PTBXL_RHYTHM.split()}

CPSC2018_CLASS_OF: Mapping[str, str] = {
    "426783006": "NORM",  # "sinus rhythm", to which the challenge mapped normal ECGs
    "164889003": "AFIB",
    "270492004": "1AVB",
    "164909002": "CLBBB",
    "59118001": "CRBBB",
    "284470004": "PAC",
    "164884008": "VPC",
    "429622005": "STD",
    "164931005": "STE",
}

# CSN's codes with all acronyms from its table, in the order of the table. Four codes have several. Records have only
# codes, so those findings cannot be told apart: the class LBBB is every record with 164909002, whichever of the three
# blocks was meant, and MI is an infarction of any wall. (The other two codes belong to no class.)
CSN_ACRONYMS_OF: Mapping[str, tuple[str, ...]] = {
    "270492004": ("1AVB",),
    "195042002": ("2AVB",),
    "54016002": ("2AVB1",),
    "28189009": ("2AVB2",),
    "27885002": ("3AVB",),
    "251173003": ("ABI",),
    "39732003": ("ALS",),
    "284470004": ("APB",),
    "164917005": ("AQW",),
    "47665007": ("ARS",),
    "233917008": ("AVB",),
    "251199005": ("CCR",),
    "251198002": ("CR",),
    "428417006": ("ERV",),
    "164942001": ("FQRS",),
    "698252002": ("IDC", "IVB"),
    "426995002": ("JEB",),
    "251164006": ("JPT",),
    "164909002": ("LBBB", "LBBBB", "LFBBB"),
    "164873001": ("LVH",),
    "251146004": ("LVQRSAL",),
    "251148003": ("LVQRSCL",),
    "251147008": ("LVQRSLL",),
    "164865005": ("MI", "MIBW", "MIFW", "MILW", "MISW"),
    "164947007": ("PRIE",),
    "164912004": ("PWC",),
    "111975006": ("QTIE",),
    "446358003": ("RAH",),
    "59118001": ("RBBB",),
    "89792004": ("RVH",),
    "429622005": ("STDD",),
    "164930006": ("STE",),
    "428750005": ("STTC",),
    "164931005": ("STTU",),
    "164934002": ("TWC",),
    "59931005": ("TWO",),
    "164937009": ("UW",),
    "11157007": ("VB",),
    "75532003": ("VEB",),
    "13640000": ("VFW",),
    "17338001": ("VPB",),
    "195060002": ("VPE",),
    "251180001": ("VET",),
    "195101003": ("WAVN", "SAAWR"),
    "74390002": ("WPW",),
    "426177001": ("SB",),
    "426783006": ("SR",),
    "164889003": ("AFIB",),
    "427084000": ("ST",),
    "164890007": ("AF",),
    "427393009": ("SA",),
    "426761007": ("SVT",),
    "713422000": ("AT",),
    "233896004": ("AVNRT",),
    "233897008": ("AVRT",),
}
