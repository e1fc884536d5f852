# SPDX-License-Identifier: Apache-2.0
"""Work on many recordings at once: scores of a folder, and search in a dataset."""
