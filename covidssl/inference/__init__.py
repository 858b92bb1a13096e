"""Batch inference: folders of scans in, a table with its evidence out; no scan stops another."""
