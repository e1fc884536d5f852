# SPDX-License-Identifier: Apache-2.0
"""Checkpoints that others have released, as folders of this package."""
