# SPDX-License-Identifier: Apache-2.0
"""Advice that several messages give, in the words of Python and of the shell. The web page puts its own in place."""

CHOOSE_LEADS = 'name the leads to use (leads=["I", "II"] in Python, --leads I II in the shell)'
NAME_CHANNELS = (
    'say which lead it is, if you know (lead_names={"ECG": "II"} in Python, --lead_names ECG=II in the shell)'
)
NAME_ALL_CHANNELS = 'name all channels in order (lead_names=["I", "II"] in Python, --lead_names I II in the shell)'
STATE_ARRAY = (
    'State what the file does not: sampling_rate=500, unit="mV", lead_names=["I", "II"] in Python; --sampling_rate '
    "500 --unit mV --lead_names I II in the shell."
)
