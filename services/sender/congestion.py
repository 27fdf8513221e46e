"""How many calls may be without an answer at once: about twice as many as lately were, so that a Meta that hangs leaves few of them uncertain. Pure.

A window as in TCP (RFC 5681, slow start): it begins with one call, grows with the answers while it is used, follows the use down, and falls back to one call
when an answer fails to come. The first call of a number is thus alone, and a number that Meta restricts costs one refused call.
"""

from dataclasses import dataclass, field

FIRST = 1.0
FEW = 4.0
"""A number that sends little keeps this window."""
PLATFORM_FEW = 8.0
"""All numbers together keep this one."""
SLOWNESS = 2
"""Windows full of answers over which the use of a while ago is forgotten."""


@dataclass(slots=True)
class Window:
    """One scope's calls in flight (`out`), how many lately were (`used`), and how many may be (`size`); `few`: how far disuse narrows it."""

    few: float = FEW
    size: float = FIRST
    out: int = 0
    used: float = 0.0

    @property
    def room(self) -> int:
        """Calls that may start now."""
        return max(0, int(self.size) - self.out)

    def begin(self) -> None:
        """A call leaves."""
        self.out += 1
        self.used = max(self.used, self.out)

    def answered(self) -> None:
        """A call has been answered."""
        if 2 * self.used >= self.size:
            self.size += 1
        else:
            self.size = max(self.few, 2 * self.used)
        self.out -= 1
        self.used -= (self.used - self.out) / (SLOWNESS * self.size)

    def silent(self, left: float) -> None:
        """A call was not answered: start over with `left`."""
        self.out -= 1
        self.size = min(self.size, left)


@dataclass(slots=True)
class Congestion:
    """The windows of all numbers, and the one of all together."""

    _numbers: dict[str, Window] = field(default_factory=dict)
    _all: Window = field(default_factory=lambda: Window(few=PLATFORM_FEW, size=PLATFORM_FEW))

    def room(self, number: str) -> int:
        """Calls of the number that may start now."""
        return min(self._window(number).room, self._all.room)

    def begin(self, number: str) -> None:
        """A call leaves."""
        self._window(number).begin()
        self._all.begin()

    def answered(self, number: str) -> None:
        """Its answer is here."""
        self._window(number).answered()
        self._all.answered()

    def silent(self, number: str) -> None:
        """No answer will come. The others' window only halves: one silent number is not the platform."""
        self._window(number).silent(FIRST)
        self._all.silent(max(PLATFORM_FEW, self._all.size / 2))

    def returned(self, number: str) -> None:
        """It never left."""
        self._window(number).out -= 1
        self._all.out -= 1

    def _window(self, number: str) -> Window:
        window = self._numbers.get(number)
        if window is None:
            window = self._numbers[number] = Window()
        return window
