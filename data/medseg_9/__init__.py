"""MedSeg: nine volumes with masks."""
