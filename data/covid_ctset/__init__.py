"""COVID-CTset: 16-bit slices of 377 people."""
