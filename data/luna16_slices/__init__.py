"""LUNA16 slices: unlabelled, for pretraining."""
