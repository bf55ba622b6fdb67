"""The processes: django-q's cluster and broker, the loops that it runs, and the database."""
