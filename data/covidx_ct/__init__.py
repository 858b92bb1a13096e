"""COVIDx CT: slices of three classes, from many sources."""
