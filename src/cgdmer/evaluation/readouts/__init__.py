"""Readouts of a frozen encoder: simple classifiers on what it gives for a record. One file each, and `register`."""
