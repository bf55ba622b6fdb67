"""OSS buckets as destinations."""
