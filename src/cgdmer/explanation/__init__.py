# SPDX-License-Identifier: Apache-2.0
"""Where the model looked: which leads and which moments of an ECG its score of a finding comes from."""
