"""Networks, built from MONAI's blocks; the encoder is one addressable module."""
