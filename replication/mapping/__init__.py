"""S3 to OSS, as pure functions: keys, metadata, tags, storage classes, parts, filters."""
