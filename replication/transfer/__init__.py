"""Makes one key at the destination equal to the source, and knows no queue."""
