"""Whole journeys made of verbs; run from the checkout."""
