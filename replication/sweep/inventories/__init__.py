"""Finds keys to look at from the inventories of S3 and OSS, and from lists of keys.

An inventory is up to days old. So it only says *where to look*: each key that it yields is looked
at again on both sides, and nothing is ever deleted because of an inventory.
"""
