"""What the studies share: labelled sets and their folds, frozen features, probes, records."""
