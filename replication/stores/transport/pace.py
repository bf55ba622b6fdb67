"""Gives an exchange up if the other side moves its bytes too slowly.

A limit for each wait does not end an exchange whose bytes trickle: each byte comes in time, and the
last one in hours.
"""

from dataclasses import dataclass

from replication.stores.transport.errors import TooSlow


@dataclass(frozen=True)
class Limits:
    """The limits of an exchange. Its speed is only measured while it waits for the other side."""

    connect_seconds: float  # for connecting, with a proxy's tunnel and the TLS handshake
    read_seconds: float  # for each wait: until some bytes can be sent, or were received
    exchange_seconds: float = 60.0  # how long an exchange may be slower than the least speed
    least_bytes_per_second: float = 1024.0


class Pace:
    """The speed of one exchange.

    It is measured over spans of `Limits.exchange_seconds` each. An exchange that moves few bytes
    (a refusal, a listing) must therefore end within one span.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.restart()

    def restart(self) -> None:
        """Begin a new span."""
        self._waited_seconds = 0.0
        self._moved_bytes = 0

    def check(self) -> None:
        """Call this before each wait: an exchange that needs no further wait is not slow.

        Raises:
            TooSlow: the span is over, and its bytes were too few.
        """
        limits = self._limits
        if self._waited_seconds < limits.exchange_seconds:
            return
        if self._moved_bytes < self._waited_seconds * limits.least_bytes_per_second:
            raise TooSlow(
                f"{self._moved_bytes} bytes in {self._waited_seconds:.0f} s, "
                f"fewer than {limits.least_bytes_per_second:g} a second"
            )
        self.restart()

    def waited(self, seconds: float) -> None:
        """Add the time of a wait for the other side."""
        self._waited_seconds += seconds

    def moved(self, size_bytes: int) -> None:
        """Add bytes that were sent or received."""
        self._moved_bytes += size_bytes
