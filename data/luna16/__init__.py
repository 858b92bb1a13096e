"""LUNA16: 888 volumes, for pretraining."""
