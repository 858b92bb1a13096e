"""SARS-CoV-2 CT: labelled slices from hospitals in São Paulo."""
