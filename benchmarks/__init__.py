"""Measures what the design promises: `bench`, `denied`, `large` and `scale` are commands."""
