"""A web server as a source."""
