"""The processes: django-q's cluster and broker, the loops it runs, and the database."""
