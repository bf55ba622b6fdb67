"""What the service reports about itself: status, metrics, notifications."""
