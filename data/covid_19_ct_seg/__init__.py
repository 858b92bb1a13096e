"""COVID-19-CT-Seg: 20 volumes with masks."""
