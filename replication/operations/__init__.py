"""What people and machines may do to the service, and what is kept of that."""
