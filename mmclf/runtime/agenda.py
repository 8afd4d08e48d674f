"""How far a whole piece of work is, and how long the rest will take: phases with amounts, speeds by kind, one clock.

Loops say what they begin and how they get on; nobody asks them for a time. What is done between two loops (reading,
writing, recording) counts as the start of the next one, so that no time is forgotten.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from .pace import TRUSTED_STEPS, Pace

# of a step that takes longer than it should: so much of the time that it has taken is still to come
OVERRUN = 0.25
# so many seconds as expected are supposed before what was measured says that the machine is slower or faster now
DRAG_SECONDS = 5.0
# of the speeds that are remembered, those of what comes before a phase
START = "start of "


@dataclass(frozen=True)
class Phase:
    """A part of the work.

    Attributes:
        kind: phases of one kind have one speed.
        amount: units that it has.
        group: what it belongs to, from the whole to the part, as `("fold 0", "epoch 3")`.
    """

    kind: str
    amount: float
    group: tuple[str, ...] = ()


@dataclass
class Running:
    """A phase that is under way; `advance` and `end` take it.

    Attributes:
        kind: see `Phase`.
        amount: units that it has.
        label: what is done, for people.
        since: when it was begun, or its last step ended.
        done: units so far.
    """

    kind: str
    amount: float
    label: str
    since: float
    done: float = 0.0


@dataclass
class _Kind:
    pace: Pace = field(default_factory=Pace)  # of the units
    start: Pace = field(default_factory=Pace)  # of what comes before a phase
    like: tuple[str, float] | None = None
    planned: deque[Phase] = field(default_factory=deque)
    amount: float = 0.0  # of what is planned
    starts: int = 0  # the same: phases that have any
    before: float = 0.0  # units that an earlier process has done
    begun: int = 0  # phases

    def add(self, phase: Phase, sign: int = 1) -> None:
        """Count a planned phase, or no longer."""
        self.amount += sign * phase.amount
        self.starts += sign * (phase.amount > 0)

    @property
    def start_seconds(self) -> float:
        """Of what comes before a phase, as far as it is known; the first one's tell nothing about the others."""
        return (self.start.expected or 0.0) if self.start.units or self.start.guess is not None else 0.0


class Agenda:
    """The phases of a piece of work; safe to read while another thread works.

    Attributes:
        name: of the work, for people.
    """

    def __init__(
        self, name: str, known: Mapping[str, float] | None = None, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        """
        Args:
            name: see above.
            known: seconds a unit of kinds that were measured on this machine before.
            now: gives seconds.
        """
        self.name = name
        self._known = known or {}
        self._now = now
        self._start = self._since = now()
        self._kinds: dict[str, _Kind] = {}
        self._running: list[Running] = []  # each was begun within the one before
        self._places: list[str] = []
        self._lock = threading.RLock()

    @property
    def elapsed(self) -> float:
        """Seconds since it was made."""
        return self._now() - self._start

    def knows(self, kind: str) -> bool:
        """Whether the speed of a kind was measured, before or here."""
        pace = self._kind(kind).pace
        return bool(pace.trust or pace.measured)

    def expects(self, kind: str) -> float | None:
        """Seconds a unit of a kind, as far as they are known."""
        with self._lock:
            self._kind(kind)
            return self._seconds(kind)

    def learn(self, kind: str, seconds: float) -> None:
        """Take in what a unit of a kind was measured to take beside the work itself."""
        with self._lock:
            pace = self._kind(kind).pace
            pace.guess, pace.trust = seconds, TRUSTED_STEPS

    def measure(self, kind: str, seconds: float) -> None:
        """Take in how long a phase of one unit took whose parts were planned in its place."""
        with self._lock:
            pace = self._kind(kind).pace
            pace.is_whole = True
            pace.add(1, seconds)

    def plan(
        self,
        kind: str,
        amounts: Sequence[float],
        *,
        guess: float | None = None,
        like: tuple[str, float] | None = None,
        is_whole: bool = False,
        group: tuple[str, ...] = (),
    ) -> None:
        """Add phases of one kind.

        Args:
            kind: see `Phase`.
            amounts: units of each.
            guess: seconds a unit as they are computed, where none are remembered; None where they can't be.
            like: another kind, and how many times its seconds a unit these take, where nothing else is known.
            is_whole: each of them has one step only.
            group: see `Phase`.
        """
        with self._lock:
            known = self._kind(kind)
            known.like = known.like or like
            if like is not None:
                self._kind(like[0])  # it may be remembered
            known.pace.is_whole = is_whole
            if known.pace.guess is None:
                known.pace.guess = guess
            for amount in amounts:
                known.planned.append(Phase(kind, amount, group))
                known.add(known.planned[-1])

    def begin(self, kind: str, amount: float, label: str = "") -> Running:
        """Begin the next planned phase of a kind, or one that wasn't planned.

        Args:
            kind: see `Phase`.
            amount: units that it turns out to have.
            label: what is done, for people; what stands in brackets, as `pictures[, pass #]`, is shown where there are
                several of the kind, with the number in place of `#`.
        """
        with self._lock:
            known = self._kind(kind)
            if known.planned:
                known.add(known.planned.popleft(), -1)
            known.begun += 1
            found = Running(kind, amount, label, self._now())
            if amount > 0:
                known.start.add(1, self._passed())
                self._running.append(found)
            return found

    def advance(self, running: Running, units: float) -> None:
        """A step is done."""
        with self._lock:
            pace, passed = self._kinds[running.kind].pace, self._passed()
            # what was begun within it is part of a step that is all of its phase, and has its own speed in others
            pace.add(units, self._since - running.since if pace.is_whole else passed)
            running.done, running.since = running.done + units, self._since

    def end(self, running: Running) -> None:
        """A phase is over, whether or not all of it was done."""
        with self._lock:
            if running in self._running:
                self._running.remove(running)

    def settle(self, kind: str) -> None:
        """What was done since the last step belonged to this kind, and doesn't to the start of the next phase."""
        with self._lock:
            pace, passed = self._kind(kind).pace, self._passed()
            if pace.units:
                pace.seconds += passed

    def drop(self, *groups: tuple[str, ...], done: bool = False) -> None:
        """Take out the phases of some groups that weren't begun.

        Args:
            groups: their names, each from the whole to the part.
            done: an earlier process has done them.
        """
        wanted = set(groups)
        with self._lock:
            for known in self._kinds.values():
                former, known.planned = known.planned, deque()
                for phase in former:
                    if not any(phase.group[:length] in wanted for length in range(1, len(phase.group) + 1)):
                        known.planned.append(phase)
                        continue
                    known.add(phase, -1)
                    if done:
                        known.before += phase.amount
                        known.begun += 1

    @contextlib.contextmanager
    def within(self, place: str) -> Iterator[None]:
        """Say for a while where the work is, as `fold 3 of 5`."""
        self._places.append(place)
        try:
            yield
        finally:
            self._places.pop()

    @property
    def left(self) -> float | None:
        """Seconds until all is done; None where nothing is known of the speed of a kind, or nothing is planned yet."""
        with self._lock:
            if not any(kind.begun or kind.planned for kind in self._kinds.values()):
                return None
            parts = [(name, kind.amount) for name, kind in self._kinds.items() if kind.starts]
            starts = sum(kind.starts * kind.start_seconds for kind in self._kinds.values())
            parts += [(running.kind, max(running.amount - running.done, 0.0)) for running in self._running[:-1]]
            seconds = [(self._seconds(kind), amount) for kind, amount in parts]
            if any(each is None for each, _ in seconds):
                return None
            total = starts + sum((each or 0.0) * amount for each, amount in seconds)
            if self._running:
                top = self._running[-1]
                each = self._seconds(top.kind)
                if each is None:
                    return None
                gone = self._now() - self._since
                total += max(max(top.amount - top.done, 0.0) * each - gone, OVERRUN * gone)
            return total

    @property
    def share(self) -> float | None:
        """How much of the work is done, in [0, 1], by its time; what an earlier process did counts as done."""
        left = self.left
        if left is None:
            return None
        with self._lock:
            done = self.elapsed + sum(
                kind.before * (self._seconds(name) or 0.0) for name, kind in self._kinds.items() if kind.before
            )
        return done / (done + left) if done + left else 1.0

    @property
    def place(self) -> str:
        """Where the work is, as `fold 3 of 5, epoch 4 of 20`."""
        with self._lock:
            labels = [self._label(self._running[-1])] if self._running and self._running[-1].label else []
            return ", ".join([*self._places, *labels])

    def measured(self) -> dict[str, float]:
        """Seconds a unit of each kind that was timed here."""
        with self._lock:
            found = {name: each.pace.measured for name, each in self._kinds.items()}
            found |= {START + name: each.start.measured for name, each in self._kinds.items()}
            return {name: seconds for name, seconds in found.items() if seconds}

    def _kind(self, name: str) -> _Kind:
        if name not in self._kinds:
            self._kinds[name] = _Kind(self._remembered(name), self._remembered(START + name))
        return self._kinds[name]

    def _remembered(self, name: str) -> Pace:
        return Pace(self._known.get(name), TRUSTED_STEPS if name in self._known else 0.0)

    def _label(self, running: Running) -> str:
        before, _, rest = running.label.partition("[")
        begun = self._kinds[running.kind].begun
        count = begun + len(self._kinds[running.kind].planned)
        return before + (rest.rstrip("]").replace("#", f"{begun} of {count}") if count > 1 else "")

    def _passed(self) -> float:
        """Seconds since this was asked last."""
        before, self._since = self._since, self._now()
        return self._since - before

    def _drag(self) -> float:
        """How much longer whole phases take now than they were known to, or less, by those that were measured so far.

        Those of many steps measure their own speed soon enough, and begin with what is quick.
        """
        paces = [each.pace for each in self._kinds.values()]
        known = [pace for pace in paces if pace.is_whole and pace.guess and pace.units]
        took = DRAG_SECONDS + sum(pace.seconds for pace in known)
        expected = DRAG_SECONDS + sum((pace.guess or 0.0) * pace.units for pace in known)
        return took / expected

    def _seconds(self, kind: str) -> float | None:
        """Seconds a unit of a kind; by those of another where nothing is known."""
        known = self._kinds[kind]
        if known.pace.expected is None and known.like is not None:
            other, times = known.like
            found = self._seconds(other)
            return None if found is None else found * times
        if known.pace.is_whole and known.pace.guess is not None and not known.pace.units:
            return known.pace.guess * self._drag()
        return known.pace.expected
