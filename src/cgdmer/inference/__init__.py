# SPDX-License-Identifier: Apache-2.0
"""Inference on many recordings: embeddings, scores, search, and export."""
