"""What `POST /sim/options` can change. Pure."""

from pydantic import BaseModel, ConfigDict, Field, field_validator

from services.simulator.envelope import MAX_UPDATES
from services.simulator.pricing import REGIMES


class Options(BaseModel):
    """How statuses come about and how webhooks are posted."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    auto_statuses: bool = True
    """Whether an accepted message is sent and delivered by itself."""
    delay_s: float = Field(1.0, ge=0)
    """Seconds from the call to `delivered`, and from there to `read`, by the clock."""
    read: bool = False
    """Whether `read` follows."""
    pricing: str = "guide"
    """Regime of the accounts that name none."""
    webhook_version: int = 24
    """Graph version of the webhooks: from 24 on, per-message pricing tells no `conversation` but entry points."""
    async_errors: list[int] = []
    """Codes that come as a `failed` status after a 200, as Meta does for many, instead of in the answer."""
    pair_rate: bool = False
    """Whether the pair rate limit is enforced (131056)."""
    rewrites: dict[str, str] = {}
    """Digits as called → the wa_id Meta makes of them (Brazil, Mexico)."""

    access_token: str | None = None
    """The token that is accepted instead of the setting's, which has thereby expired."""
    require_appsecret_proof: bool = False
    """Whether calls without `appsecret_proof` are refused; a wrong one always is."""
    app_usage_percent: float | None = Field(None, ge=0)
    """Told in `X-App-Usage` with every answer to a send; None tells nothing."""
    account_usage_percent: float | None = Field(None, ge=0)
    """Told in `X-Business-Use-Case-Usage` likewise."""
    regain_minutes: int = Field(0, ge=0)
    """Told beside it: minutes until access is regained."""

    review_after_s: float | None = Field(None, ge=0)
    """Seconds from a template's submission to its approval; None leaves it to `/sim/templates/{name}/review`."""
    management_calls: int | None = Field(None, ge=1)
    """Reads and template calls per account in a moving hour, above which they are answered with 80008; None counts to Meta's 200 and refuses none."""
    page: int = Field(1000, ge=1)
    """Most nodes of one page, whatever limit is asked for."""
    unknown_fields: list[str] = []
    """Fields that this Graph version does not know: asking for one is an error."""

    webhook_url: str | None = None
    """Instead of the setting's."""
    batch: int = Field(100, ge=1, le=MAX_UPDATES)
    """Most updates in one POST; fewer when fewer wait."""
    connections: int = Field(1, ge=1, le=64)
    """POSTs in flight; with one, first attempts keep their order."""
    duplicate: float = Field(0.0, ge=0, le=1)
    """Probability that an update is posted twice."""
    shuffle: bool = False
    """Whether updates are held back by a random time up to `shuffle_s` and mixed within a POST."""
    shuffle_s: float = Field(0.5, ge=0)
    seed: int = 0
    """Of duplicates and disorder; setting any option starts the sequence anew."""
    retry_initial_s: float = Field(0.2, gt=0)
    """Before the first repetition of a POST not answered with 200; doubles each time."""
    retry_max_s: float = Field(5.0, gt=0)
    retry_for_s: float = Field(7 * 86_400.0, ge=0)
    """After so long, by the clock, a POST is dropped (Meta: up to 7 days)."""
    timeout_s: float = Field(10.0, gt=0)
    """Of one POST, by the wall clock."""

    @field_validator("pricing")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in REGIMES:
            raise ValueError(f"unknown regime {value!r}; known: {', '.join(REGIMES)}")
        return value
