"""covidssl."""
