"""Pure functions from S3 to OSS: keys, metadata, tags, storage classes, parts, filters."""
