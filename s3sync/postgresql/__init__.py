"""Django's backend for PostgreSQL, in whose connections each statement has a deadline."""
