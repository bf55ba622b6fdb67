"""Tests against the real things; tests/support/environment.py starts the database."""
