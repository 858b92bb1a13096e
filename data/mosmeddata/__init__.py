"""MosMedData: volumes graded by the share of lung involved."""
