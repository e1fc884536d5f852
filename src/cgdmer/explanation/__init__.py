# SPDX-License-Identifier: Apache-2.0
"""Where the model looked: the leads and moments of an ECG that its score for a finding comes from."""
