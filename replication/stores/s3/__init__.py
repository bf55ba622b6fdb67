"""S3 as a source."""
