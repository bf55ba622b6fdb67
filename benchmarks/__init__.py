"""Measures what the design promises; each module is a command that prints its figures."""
