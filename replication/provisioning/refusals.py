"""Why nothing could be planned or made, in words for the one who ran it."""


class ProvisioningError(Exception):
    """The text says what is wrong and, on a line of its own, what to do about it."""

    def __init__(self, what: str, *, hint: str) -> None:
        super().__init__(f"{what}\n{hint}")
        self.what = what
        self.hint = hint
