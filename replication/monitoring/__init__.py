"""Status, metrics, notifications: what the service says of itself."""
