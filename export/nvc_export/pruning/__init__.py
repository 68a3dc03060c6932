"""Structured channel pruning of a codec to a budget, with torch-pruning's dependency graph."""
