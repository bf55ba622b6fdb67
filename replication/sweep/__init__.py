"""Compares whole buckets: two ordered listings are merged, and each key is judged.

A sweep only says where to look. A key that differs becomes an ordinary job, which looks at the
source as it is then.
"""
