"""`make chaos`: kill processes, cut connections and inject faults, then compare both buckets."""
