"""How long a unit of one kind of work takes: known beforehand, then measured."""

from dataclasses import dataclass

# a remembered speed counts like so many steps of what is being measured; a computed one only until there are two
TRUSTED_STEPS = 2.0


@dataclass
class Pace:
    """Seconds a unit.

    The first step, in which things are loaded and warmed up, tells nothing about the others and isn't counted, unless a
    step is all that a phase has.

    Attributes:
        guess: seconds a unit as they are known before anything is measured; None where they aren't.
        trust: steps that the guess counts like.
        is_whole: each step is a phase of its own.
        units, seconds: of the steps so far that count.
        first: units of the first step, 0 before it.
        first_seconds: that it took.
    """

    guess: float | None = None
    trust: float = 0.0
    is_whole: bool = False
    units: float = 0.0
    seconds: float = 0.0
    first: float = 0.0
    first_seconds: float = 0.0

    def add(self, units: float, seconds: float) -> None:
        """Count a step."""
        is_first = not self.first
        if is_first:
            self.first, self.first_seconds = units, seconds
        if self.is_whole or not is_first:
            self.units += units
            self.seconds += seconds

    @property
    def measured(self) -> float | None:
        """Seconds a unit by what was timed alone; None before there is a step that counts."""
        return self.seconds / self.units if self.units else None

    @property
    def expected(self) -> float | None:
        """Seconds a unit of what is still to come; None where nothing is known."""
        if self.guess is not None and (self.trust or not self.units):
            units = self.trust * self.first
            return (self.guess * units + self.seconds) / (units + self.units) if self.units else self.guess
        return self.measured or (self.first_seconds / self.first if self.first else None)
