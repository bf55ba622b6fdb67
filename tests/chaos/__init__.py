"""`make chaos`: kill, cut and crash everything for a while, then compare both buckets."""
