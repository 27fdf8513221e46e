"""The real ids behind a case's names: accounts, numbers, users, requests, so that no two cases share one. Pure."""

from dataclasses import dataclass

from shared.phone import canonical_user, is_bsuid
from tests.cases.form import LETTERS, UNRATED, Case

_SATELLITE = "881612345678"
"""Of no country (ITU, E.164: +881), so no market covers it."""


@dataclass(frozen=True)
class Names:
    """The ids of the `index`th case that is played."""

    case: Case
    index: int

    def account(self, name: str) -> str:
        """A WABA id."""
        return f"1{self.index:08}{list(self.case.accounts).index(name):02}"

    @property
    def portfolio(self) -> str:
        """The portfolio that all accounts of the case are in."""
        return f"3{self.index:010}"

    def number(self, name: str) -> str:
        """A phone number id."""
        return f"2{self.index:08}{self._place(name):02}"

    def display(self, name: str) -> str:
        """The number itself, as people see it."""
        return f"+1 555 {self.index:05}{self._place(name):02}"

    def number_named(self, phone_number_id: str | None) -> str | None:
        """The case's name of a number id; the id itself where it has none."""
        names = {self.number(name): name for name in self.case.numbers}
        return names.get(phone_number_id or "", phone_number_id)

    def written(self, user: str) -> str:
        """A user as the business writes it: a number with a plus, or a business-scoped id."""
        own = self.case.users.get(user)
        if own is not None:
            return own
        return f"+{_SATELLITE if user == UNRATED else self._letter(user)}"

    def user(self, user: str) -> str:
        """The canonical user; what is no number at all stays as it is written."""
        written = self.written(user)
        return canonical_user(written) or written

    def wa_id(self, user: str) -> str:
        """The number that Meta knows a user by, also where the business knows only the business-scoped id."""
        canonical = self.user(user)
        if not is_bsuid(canonical):
            return canonical
        return self._letter(LETTERS[-1 - list(self.case.users).index(user)])

    def wamid(self, id_: str) -> str:
        """The id of a received message that the case gives a name."""
        return f"wamid.case{self.index}.{id_}"

    def request(self, id_: str) -> str:
        """A request id."""
        return f"case{self.index}.{id_}"

    def _place(self, number: str) -> int:
        return list(self.case.numbers).index(number)

    def _letter(self, user: str) -> str:
        # German mobile numbers: 151 and eight digits (ITU, national numbering plans).
        return f"49151{self.index:06}{10 + LETTERS.index(user)}"
