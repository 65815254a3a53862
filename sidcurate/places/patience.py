"""Ask again what may fail for a moment only: a few times, each after a longer pause, so that who is busy gets rest."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Patience:
    """How often to try, and how long to wait between: `first_s`, then twice as long each time, at most `longest_s`."""

    tries: int = 5
    first_s: float = 0.25
    longest_s: float = 8.0

    def ask(self, name: str, request: Callable[[], Answer], is_passing: Callable[[Exception], bool]) -> Answer:
        """Return the first answer to a request.

        Args:
            name: what is asked for. It seeds the pauses, so that many who fail at once do not come back at once.
            request: asks; an exception is a failure.
            is_passing: whether a failure may be over at the next try; one that may not is raised at once.

        Raises:
            Exception: the failure of the last try.
        """
        for pause_s in self.pauses_s(name):
            try:
                return request()
            except Exception as error:
                if not is_passing(error):
                    raise
            time.sleep(pause_s)
        return request()

    def pauses_s(self, name: str) -> Iterator[float]:
        """Yield the pauses between the tries: each shortened by up to a half, by chance, the same for a name."""
        chance = random.Random(name)
        for number in range(self.tries - 1):
            yield min(self.first_s * 2**number, self.longest_s) * chance.uniform(0.5, 1)
