"""What keeps an inventory or a list of keys from being read."""


class InventoryError(Exception):
    """An inventory can't be read or compared; the text says why, and what to do."""


class KeyListError(Exception):
    """A line of a list is no key; the text names the line, and says why."""
