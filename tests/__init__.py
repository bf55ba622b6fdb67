"""Tests against real servers and processes; tests/support/environment.py starts PostgreSQL."""
