"""The accounts file: YAML text in, checked accounts out, or problems with their path and line. Pure.

No problem repeats a value of the file other than an id: someone may have put a token into it by mistake.
"""

import difflib
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self
from zoneinfo import ZoneInfo

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

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


def _not_repeated(kind: str, ids: list[str]) -> None:
    if repeated := sorted({id for id in ids if ids.count(id) > 1}):
        raise ValueError(f"{kind} more than once: {', '.join(repeated)}")


Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
MetaWord = Annotated[str, Field(pattern=r"^[A-Z][A-Z_]{1,63}$")]
"""One of Meta's own words, e.g. APPROVED, GREEN; Meta owns the lists."""
Zone = Annotated[str, AfterValidator(_known_zone)]
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
    """A template in one language."""

    not_facts: ClassVar[frozenset[str]] = frozenset({"name", "language"})

    name: str = Field(pattern=r"^[a-z0-9_]{1,512}$")
    language: str = Field(pattern=r"^[a-z]{2,3}(_[A-Z]{2})?$")
    category: Literal["marketing", "utility", "authentication"]
    status: MetaWord = "PENDING"
    quality: MetaWord = "UNKNOWN"
    paused: bool = False

    @property
    def id(self) -> str:
        """`name/language`, as account events name a template."""
        return f"{self.name}/{self.language}"


class BudgetEntry(_Entry):
    """The most that may be spent in a month, in millionths of the account's currency: on one category, or on all."""

    amount_micros: int = Field(ge=0, le=10**15)
    category: Literal["marketing", "utility", "authentication", "service"] | None = None


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
    marketing_reserve_percent: int = Field(0, ge=0, le=100)
    paused: bool = False
    numbers: list[NumberEntry] = []
    templates: list[TemplateEntry] = []

    @model_validator(mode="after")
    def _templates_once(self) -> Self:
        _not_repeated("template", [template.id for template in self.templates])
        _not_repeated("budget", [budget.category or "all" for budget in self.budgets])
        return self


class AccountsDocument(_Entry):
    """The whole file."""

    accounts: list[AccountEntry] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_once(self) -> Self:
        _not_repeated("account", [account.id for account in self.accounts])
        _not_repeated("number", [number.id for account in self.accounts for number in account.numbers])
        return self


def parse(text: str, is_regime: Callable[[str], bool]) -> AccountsDocument:
    """Read and check an accounts file (YAML, so JSON too); `is_regime` knows the pins of accounts.

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
        Problem(line_of(path, lines), written(path), "unknown regime; see config/regimes.yaml")
        for index, account in enumerate(document.accounts)
        if not is_regime(account.regime)
        for path in [("accounts", index, "regime")]
    ]
    if wrong:
        raise InvalidDocument(tuple(wrong))
    return document


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
