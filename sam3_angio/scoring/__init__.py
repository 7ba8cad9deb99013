"""Scores of predictions against references, and their uncertainty; no torch."""
