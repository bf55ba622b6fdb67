"""The ways in which an HTTP exchange fails."""


class TransportError(Exception):
    """The request got no answer, or only part of one.

    `is_surely_unsent` means that no byte of the request was sent, so the server can't have carried
    it out.
    """

    def __init__(self, reason: str, *, is_surely_unsent: bool = False) -> None:
        super().__init__(reason)
        self.is_surely_unsent = is_surely_unsent


class NoAnswer(TransportError):
    """The connection ended before the first byte of the answer."""


class AnswerBroken(TransportError):
    """The connection ended in the middle of the answer."""


class TlsFailed(TransportError):
    """The server's certificate is not trusted, or the server does not speak TLS as we do."""


class AddressRefused(TransportError):
    """The door lets no connection out to this host."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, is_surely_unsent=True)


class TooSlow(TransportError):
    """The server moved fewer bytes than the least speed asks for."""
