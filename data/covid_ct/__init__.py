"""COVID-CT: labelled slices cut out of figures of papers."""
