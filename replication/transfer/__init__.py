"""Make one key at the destination equal to the source. Nothing here knows of the queue."""
