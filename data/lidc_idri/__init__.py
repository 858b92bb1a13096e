"""LIDC-IDRI: DICOM series, for pretraining."""
