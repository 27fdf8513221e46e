"""The accounts, numbers and templates the fake Meta knows: models of the control API, and their lookup. Pure."""

from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from services.simulator.pricing import REGIMES
from services.simulator.template_parameters import definition_fault

Category = Literal["marketing", "utility", "authentication"]
CATEGORIES: tuple[Category, ...] = ("marketing", "utility", "authentication")


class Strict(BaseModel):
    """Control input: a misspelt key is an error."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)


class Number(Strict):
    """A business phone number."""

    id: str
    display_phone_number: str
    verified_name: str = "Simulated Business"
    registered: bool = True
    default: bool = False
    quality_rating: str = "GREEN"
    status: str = "CONNECTED"
    name_status: str = "APPROVED"
    throughput: str = "STANDARD"
    on_app: bool = False
    """Whether the number is also used in the WhatsApp Business app (coexistence)."""
    code_requested: bool = False
    code_verified: bool = True
    """Whether a one-time code has proved whose the number is; it can't be registered before."""
    messaging_limit: str = "TIER_1K"
    max_mps: float | None = Field(None, gt=0)
    """Messages in any second, users' own included, above which a call is answered with 130429; None checks nothing."""
    free_used: int = Field(0, ge=0)
    """Free service messages used in the month of the set-up, in a regime that counts them per number."""


class Template(Strict):
    """A message template in one language."""

    name: str
    language: str = "en_US"
    category: Category
    status: str = "APPROVED"
    id: str = ""
    quality_score: str = "GREEN"
    rejected_reason: str = "NONE"
    components: list[dict[str, Any]] = []
    """As submitted; a send's parameters must fit them. None given checks nothing."""
    parameter_format: str | None = None
    parameters: int | None = Field(None, ge=0)
    """Number of body parameters a send must carry (else 132000); None checks nothing."""
    paused_until: float | None = None
    """When a pause ends by itself, epoch seconds."""
    holds: Literal["held_for_quality_assessment", "paused"] | None = None
    """As what its messages are held, accepted and not sent, until they are let go or dropped."""
    next_category: Category | None = None
    next_category_from: float | None = None
    """What it becomes, and when, epoch seconds."""

    def status_at(self, now: float) -> str:
        """The status that holds at `now` (epoch seconds)."""
        over = self.status == "PAUSED" and self.paused_until is not None and self.paused_until <= now
        return "APPROVED" if over else self.status

    def category_at(self, now: float) -> Category:
        """The category that holds at `now` (epoch seconds)."""
        from_ = self.next_category_from
        changed = self.next_category is not None and from_ is not None and from_ <= now
        return self.next_category if changed and self.next_category is not None else self.category

    @field_validator("components")
    @classmethod
    def _typed(cls, value: list[dict[str, Any]]) -> list[dict[str, Any]]:
        fault = definition_fault(value)
        if fault is not None:
            raise ValueError(fault)
        return value

    @field_validator("category", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("status")
    @classmethod
    def _upper(cls, value: str) -> str:
        return value.upper()


class Waba(Strict):
    """A WhatsApp Business Account."""

    id: str
    name: str = "Simulated account"
    currency: str = "USD"
    timezone: str = "UTC"
    payment_method: Literal["valid", "missing", "failing"] = "valid"
    regime: str | None = None
    """Name of the pricing regime; None takes the one of the options."""
    free_used: int = Field(0, ge=0)
    """Free service conversations used in the month of the set-up, in a regime that counts them per account."""
    verified_receivers: list[str] | None = None
    """With a payment method missing, the only receivers allowed (else 131030); None allows all."""
    restrictions: list[str] = []
    """`restriction_type`s of an account_update, e.g. RESTRICTED_BIZ_INITIATED_MESSAGING."""
    restricted_until: dict[str, int] = {}
    """When a restriction ends by itself, epoch seconds; one that is not named here does not."""
    business_verification: str = "verified"
    primary_business_location: str | None = None
    """Country of the business, two letters; None is not verified."""
    disable_marketing_messages_on_cloud_api: bool = False
    """Whether marketing templates go out by `/marketing_messages` only (else 131063)."""
    subscribed: bool = True
    numbers: list[Number] = []
    templates: list[Template] = []

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"unknown time zone {value!r}") from error
        return value

    @field_validator("regime")
    @classmethod
    def _known_regime(cls, value: str | None) -> str | None:
        if value is not None and value not in REGIMES:
            raise ValueError(f"unknown regime {value!r}; known: {', '.join(REGIMES)}")
        return value


class AccountsBody(Strict):
    """Body of `PUT /sim/accounts`."""

    wabas: list[Waba]

    @model_validator(mode="after")
    def _numbers_are_unique(self) -> Self:
        ids = [number.id for waba in self.wabas for number in waba.numbers]
        if len(ids) != len(set(ids)):
            raise ValueError("a number's id occurs twice")
        return self


class Accounts:
    """All accounts, found by account, number or template."""

    def __init__(self) -> None:
        self.wabas: dict[str, Waba] = {}
        self._numbers: dict[str, tuple[Waba, Number]] = {}
        self._templates: dict[tuple[str, str, str], Template] = {}
        self._template_ids = 1_500_000_000_000_000  # beyond 32 bits, as Meta's are

    def put(self, waba: Waba) -> None:
        """Add an account, or replace the one of the same id as a whole."""
        waba.templates = [t if t.id else t.model_copy(update={"id": self._new_id()}) for t in waba.templates]
        self.wabas[waba.id] = waba
        self._index()

    def number(self, phone_number_id: str) -> tuple[Waba, Number] | None:
        """The number and its account."""
        return self._numbers.get(phone_number_id)

    def template(self, waba_id: str, name: str, language: str) -> Template | None:
        """The template in exactly that language."""
        return self._templates.get((waba_id, name, language))

    def named(
        self, name: str, waba_id: str | None = None, language: str | None = None
    ) -> list[tuple[Waba, Template]]:
        """All templates of that name, of one account or language if given."""
        return [
            (waba, template)
            for waba in self.wabas.values()
            if waba_id in (None, waba.id)
            for template in waba.templates
            if template.name == name and language in (None, template.language)
        ]

    def submit(self, waba: Waba, template: Template) -> Template | None:
        """Add a template; None if its name and language are taken."""
        if self.template(waba.id, template.name, template.language) is not None:
            return None
        added = template.model_copy(update={"id": self._new_id()})
        waba.templates = [*waba.templates, added]
        self._index()
        return self.template(waba.id, added.name, added.language)

    def delete(self, waba: Waba, name: str, template_id: str | None) -> bool:
        """Remove a template in all languages, or in the one of that id; False if there is none."""
        gone = [t for t in waba.templates if t.name == name and template_id in (None, t.id)]
        waba.templates = [t for t in waba.templates if t not in gone]
        self._index()
        return bool(gone)

    def _new_id(self) -> str:
        self._template_ids += 1
        return str(self._template_ids)

    def _index(self) -> None:
        self._numbers = {n.id: (waba, n) for waba in self.wabas.values() for n in waba.numbers}
        self._templates = {
            (waba.id, t.name, t.language): t for waba in self.wabas.values() for t in waba.templates
        }
