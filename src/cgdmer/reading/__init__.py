# SPDX-License-Identifier: Apache-2.0
"""From scores to a reading: what a recording shows, measured and scored, as text, JSON, FHIR, and a page to print."""
