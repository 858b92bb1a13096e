"""A restoration network as a detector of lesions: cases, scores, rivals, thresholds, numbers."""
