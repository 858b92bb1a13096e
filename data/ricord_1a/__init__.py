"""MIDRC-RICORD-1A: exams with COVID-19, with annotations."""
