"""STOIC2021: 2000 volumes with the result of RT-PCR."""
