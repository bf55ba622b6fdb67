"""How an exchange over HTTP fails."""


class TransportError(Exception):
    """The request got no answer, or the answer no end.

    `is_surely_unsent` says that no byte of it left, so that it was surely not carried out.
    """

    def __init__(self, reason: str, *, is_surely_unsent: bool = False) -> None:
        super().__init__(reason)
        self.is_surely_unsent = is_surely_unsent


class NoAnswer(TransportError):
    """The connection ended before anything of an answer came."""


class AnswerBroken(TransportError):
    """The connection ended in the middle of the answer."""
