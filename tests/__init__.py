"""Tests against the real things; tests/environment.py starts the database."""
