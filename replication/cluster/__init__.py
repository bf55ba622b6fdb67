"""The processes: django-q's cluster, its broker, the loops it runs, and waiting for the database."""
