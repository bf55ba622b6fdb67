"""Replication of S3 objects into OSS; docs/architecture.md has the layers."""
