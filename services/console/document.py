"""The accounts file: YAML text in, checked accounts out, or problems with their path and line. Pure.

No problem repeats a value of the file other than an id: someone may have put a token into it by mistake.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self
from zoneinfo import ZoneInfo

import yaml
from phonenumbers import SUPPORTED_REGIONS
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from services.console.template_words import misspelt
from shared.price_facts import Tiers, tier_bounds, tier_key
from shared.template_definition import InvalidDefinition, Shape, read
from shared.times import to_ms

MAX_DEPTH = 16
"""Nesting beyond any accounts file; bounds the work on hostile input."""

MAX_CHARS = 4 * 1024 * 1024
"""About 20,000 templates."""

Path = tuple[str | int, ...]


class Problem(NamedTuple):
    """One thing wrong with the file; `line` counts from 1, `path` is like `accounts[0].numbers[1].token`."""

    line: int
    path: str
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.path + ': ' if self.path else ''}{self.text}"


class InvalidDocument(ValueError):
    """The file can't be applied; `problems` says why, in the order of the file."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("unknown time zone; use a name like Europe/Berlin") from None
    return name


def _token_reference(reference: str) -> str:
    if reference.startswith("EAA") or len(reference) > 64:
        raise ValueError("this is an access token; write the reference (the name) of one here")
    return reference


def _known_country(code: str) -> str:
    if code not in SUPPORTED_REGIONS:
        raise ValueError("unknown country; use two capital letters like IN")
    return code


def _instant(written: object) -> object:
    """YAML reads a bare time by itself; one in quotes, as JSON has it, is read here."""
    if not isinstance(written, str):
        return written
    try:
        return datetime.fromisoformat(written)
    except ValueError:
        raise ValueError("not a time; write it like 2026-03-01T00:00:00Z") from None


def _tier(tier: str) -> str:
    bounds = tier_bounds(tier)
    if bounds is None or (bounds[1] is not None and bounds[1] < bounds[0]):
        raise ValueError('not a tier; write the first and last message like "100001:500000" or "500001:MAX"')
    return tier


def _not_repeated(kind: str, ids: list[str]) -> None:
    if repeated := sorted({id for id in ids if ids.count(id) > 1}):
        raise ValueError(f"{kind} more than once: {', '.join(repeated)}")


Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
MetaWord = Annotated[str, Field(pattern=r"^[A-Z][A-Z_]{1,63}$")]
"""One of Meta's own words, e.g. APPROVED, GREEN; Meta owns the lists."""
Zone = Annotated[str, AfterValidator(_known_zone)]
Country = Annotated[str, AfterValidator(_known_country)]
Instant = Annotated[AwareDatetime, BeforeValidator(_instant)]
TokenReference = Annotated[
    str, Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$"), AfterValidator(_token_reference)
]


class _Entry(BaseModel):
    """A misspelt field is an error, and `yes` is not `true`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    not_facts: ClassVar[frozenset[str]] = frozenset({"id", "numbers", "templates"})

    def facts(self) -> dict[str, Any]:
        """The facts that the file gives; what it leaves out is left as it is."""
        return self.model_dump(include=self.model_fields_set - self.not_facts)


class NumberEntry(_Entry):
    """A business phone number, by its `phone_number_id`."""

    id: str = Field(pattern=r"^[0-9]{1,32}$")
    display_phone_number: str = Field("", pattern=r"^\+?[0-9][0-9 ()-]{5,30}$")
    default: bool = False
    registered: bool = True
    throughput: int = Field(80, ge=1, le=1000)
    quality: MetaWord = "UNKNOWN"
    verified_name: str | None = None
    name_status: MetaWord = "NONE"
    status: MetaWord = "CONNECTED"
    token: TokenReference = "default"  # noqa: S105 - the reference of a token, not a token
    paused: bool = False


class TemplateEntry(_Entry):
    """A template in one language, with its definition as Meta's management API gives it, or just `body` where it has nothing but a text."""

    not_facts: ClassVar[frozenset[str]] = frozenset(
        {"name", "language", "components", "parameter_format", "body"}
    )

    name: str = Field(pattern=r"^[a-z0-9_]{1,512}$")
    language: str = Field(pattern=r"^[a-z]{2,3}([_-][A-Z]{2})?$")
    category: Literal["marketing", "utility", "authentication"]
    status: MetaWord = "PENDING"
    quality: MetaWord = "UNKNOWN"
    components: list[dict[str, Any]] | None = Field(None, min_length=1)
    parameter_format: Annotated[str, Field(pattern=r"^(?i:named|positional)$")] | None = None
    body: str | None = Field(None, min_length=1, max_length=1024)
    paused: bool = False

    @model_validator(mode="after")
    def _one_definition(self) -> Self:
        if self.components is not None and self.body is not None:
            raise ValueError("either `components` or `body`, not both")
        try:
            self.shape()
        except InvalidDefinition as wrong:
            raise ValueError(str(wrong)) from None
        for wrong_word in misspelt(self.components or []):
            raise ValueError(wrong_word)
        return self

    @property
    def id(self) -> str:
        """`name/language`, as account events name a template."""
        return f"{self.name}/{self.language.replace('-', '_')}"

    def definition(self) -> list[dict[str, Any]] | None:
        """The components, as Meta gives them; None where the file does not say."""
        return self.components if self.body is None else [{"type": "BODY", "text": self.body}]

    def shape(self) -> Shape | None:
        """The shape its messages must have; None where the file does not give the definition.

        Raises:
            InvalidDefinition: never of a checked entry.
        """
        components = self.definition()
        return None if components is None else read(components, self.parameter_format)

    def facts(self) -> dict[str, Any]:
        """The facts that the file gives, with the definition as the shape that it asks for."""
        shape = self.shape()
        return super().facts() | ({} if shape is None else {"parameters": shape})


class BudgetEntry(_Entry):
    """The most that may be spent in a month, in millionths of the account's currency: on one category, or on all."""

    amount_micros: int = Field(ge=0, le=10**15)
    category: Literal["marketing", "utility", "authentication", "service"] | None = None


class AuthInternationalEntry(_Entry):
    """From when authentication-international rates are owed; `exceptions` are countries with a start of their own."""

    start_at: Instant | None = None
    exceptions: dict[Country, Instant] = {}

    def facts(self) -> dict[str, Any]:
        """As `shared.price_facts.AuthInternational`."""
        return {
            "start_ms": None if self.start_at is None else to_ms(self.start_at),
            "exceptions": {country: to_ms(at) for country, at in self.exceptions.items()},
        }


class VolumeTierEntry(_Entry):
    """The tier that a category has in a market and month; without `reached_at` from the beginning of the month."""

    category: Literal["utility", "authentication", "authentication_international"]
    market: str = Field(min_length=1, max_length=64)
    month: str = Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")
    tier: Annotated[str, AfterValidator(_tier)]
    reached_at: Instant | None = None


class AccountEntry(_Entry):
    """A WhatsApp Business Account with its numbers and templates."""

    id: Id
    name: str = Field("", max_length=256)
    portfolio_id: Id | None = None
    currency: str = Field("USD", pattern=r"^[A-Z]{3}$")
    timezone: Zone = "UTC"
    regime: str = "calendar"
    payment_method: Literal["valid", "missing", "failing"] = "missing"
    business_verified: bool = False
    messaging_limit: int = Field(250, ge=-1)
    restrictions: list[MetaWord] = []
    status: Literal["active", "disabled", "deleted"] = "active"
    default: bool = False
    budgets: list[BudgetEntry] = []
    budget_thresholds: list[Annotated[int, Field(ge=1, le=1000)]] = [50, 80, 100]
    marketing_reserve_percent: int = Field(0, ge=0, le=100)
    marketing_messages_api: bool = False
    marketing_on_cloud_api_disabled: bool = False
    paused: bool = False
    paused_categories: list[Literal["marketing", "utility", "authentication", "service"]] = []
    stop_words: dict[
        Annotated[str, Field(min_length=1, max_length=64)], Literal["stop", "start", "ignore"]
    ] = {}
    primary_location: Country | None = None
    auth_international: AuthInternationalEntry | None = None
    volume_tiers: list[VolumeTierEntry] = []
    numbers: list[NumberEntry] = []
    templates: list[TemplateEntry] = []

    def facts(self) -> dict[str, Any]:
        """The facts that the file gives, in the form of `shared.accounts.Account`; a restriction of the file has no end."""
        facts = super().facts()
        if "restrictions" in facts:
            facts["restrictions"] = dict.fromkeys(facts["restrictions"])
        if self.auth_international is not None:
            facts["auth_international"] = self.auth_international.facts()
        if "volume_tiers" in facts:
            facts["volume_tiers"] = self._tiers()
        return facts

    def _tiers(self) -> Tiers:
        found: Tiers = {}
        for entry in self.volume_tiers:
            reached_ms = 0 if entry.reached_at is None else to_ms(entry.reached_at)
            found.setdefault(tier_key(entry.category, entry.market, entry.month), {})[entry.tier] = reached_ms
        return found

    @model_validator(mode="after")
    def _templates_once(self) -> Self:
        _not_repeated("template", [template.id for template in self.templates])
        _not_repeated("budget", [budget.category or "all" for budget in self.budgets])
        _not_repeated("budget threshold", [str(percent) for percent in self.budget_thresholds])
        return self

    @model_validator(mode="after")
    def _tiers_once(self) -> Self:
        keys = [f"{tier_key(t.category, t.market, t.month)} {t.tier}" for t in self.volume_tiers]
        _not_repeated("volume tier", keys)
        return self


class AccountsDocument(_Entry):
    """The whole file."""

    accounts: list[AccountEntry] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_once(self) -> Self:
        _not_repeated("account", [account.id for account in self.accounts])
        _not_repeated("number", [number.id for account in self.accounts for number in account.numbers])
        return self


def parse(text: str, is_regime: Callable[[str], bool], is_market: Callable[[str], bool]) -> AccountsDocument:
    """Read and check an accounts file (YAML, so JSON too); `is_regime` knows the pins of accounts, `is_market` the rows of rate cards.

    Raises:
        InvalidDocument: with every problem found.
    """
    lines: dict[Path, int] = {}
    data = load(text, lines)
    try:
        document = AccountsDocument.model_validate(data)
    except ValidationError as error:
        raise InvalidDocument(
            tuple(
                sorted(
                    _problem(found, lines) for found in error.errors(include_input=False, include_url=False)
                )
            )
        ) from None
    wrong = [
        Problem(line_of(path, lines), written(path), text)
        for path, text in _unknown(document, is_regime, is_market)
    ]
    if wrong:
        raise InvalidDocument(tuple(sorted(wrong)))
    return document


def _unknown(
    document: AccountsDocument, is_regime: Callable[[str], bool], is_market: Callable[[str], bool]
) -> Iterator[tuple[Path, str]]:
    for index, account in enumerate(document.accounts):
        if not is_regime(account.regime):
            yield ("accounts", index, "regime"), "unknown regime; see config/regimes.yaml"
        for number, tier in enumerate(account.volume_tiers):
            if not is_market(tier.market):
                path = ("accounts", index, "volume_tiers", number, "market")
                yield path, "unknown market; see config/rates/market_map.csv"


def load(text: str, lines: dict[Path, int]) -> Any:
    """The YAML text's value, bounded in size and depth; notes in `lines` where each path stands. Raises InvalidDocument."""
    if len(text) > MAX_CHARS:
        raise InvalidDocument((Problem(1, "", f"longer than {MAX_CHARS} characters"),))
    try:
        _check_events(text)
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                raise InvalidDocument((Problem(1, "", "the file is empty"),))
            _locate(node, (), lines)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise InvalidDocument((Problem(line, "", f"not YAML: {error.problem or error.context}"),)) from None
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, InvalidDocument):
            raise
        raise InvalidDocument((Problem(1, "", f"not YAML: {type(error).__name__}"),)) from None


def _check_events(text: str) -> None:
    """Bound the nesting and refuse aliases before anything is built from the text."""
    depth = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise InvalidDocument((Problem(_at(event), "", "aliases are not allowed; write it out"),))
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise InvalidDocument((Problem(_at(event), "", "nested too deeply"),))


def _at(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _locate(node: yaml.Node, path: Path, lines: dict[Path, int]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _locate(item, (*path, index), lines)
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*path, str(key.value))
            if inner in lines:
                raise InvalidDocument((Problem(key.start_mark.line + 1, written(inner), "written twice"),))
            lines[inner] = key.start_mark.line + 1
            _locate(value, inner, lines)


def _problem(error: Mapping[str, Any], lines: dict[Path, int]) -> Problem:
    path: Path = tuple(error["loc"])
    return Problem(line_of(path, lines), written(path), _text(error, path))


def _text(error: Mapping[str, Any], path: Path) -> str:
    name = str(path[-1]) if path else ""
    match error["type"]:
        case "extra_forbidden" if "token" in name or "secret" in name:
            return "secrets are not kept here; name the reference of a token in `token`"
        case "extra_forbidden":
            near = difflib.get_close_matches(name, _fields_at(path), 1)
            return "unknown field" + (f"; did you mean `{near[0]}`?" if near else "")
        case "string_type":
            return "must be text; write it in quotes"
        case "missing":
            return "is missing"
        case "value_error":
            return str(error["ctx"]["error"])
        case _:
            return str(error["msg"])


def _fields_at(path: Path) -> list[str]:
    kinds: dict[str, type[BaseModel]] = {
        "accounts": AccountEntry,
        "numbers": NumberEntry,
        "templates": TemplateEntry,
        "budgets": BudgetEntry,
        "volume_tiers": VolumeTierEntry,
        "auth_international": AuthInternationalEntry,
    }
    lists = [part for part in path[:-1] if isinstance(part, str)]
    return list((kinds[lists[-1]] if lists else AccountsDocument).model_fields)


def line_of(path: Path, lines: dict[Path, int]) -> int:
    """The line of a path, or of the nearest that stands above it."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def written(path: Path) -> str:
    """A path as problems show it: `accounts[0].numbers[1].token`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")
