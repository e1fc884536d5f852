# SPDX-License-Identifier: Apache-2.0
"""A web page for one recording: scores of findings, the ECG on paper, and where a score comes from."""
