"""NLST: low-dose screening scans, for pretraining."""
