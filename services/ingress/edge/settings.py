"""Settings of the HTTP edge, from the environment (`WA_…`)."""

from pathlib import Path

from pydantic import Field

from shared.settings import GraphSettings


class EdgeSettings(GraphSettings):
    """Where business systems call, who may, how long they wait for Meta's word, and how much is held at once."""

    metrics_port: int = Field(9109, ge=0, le=65535, description="Port of /metrics, /live and /ready.")
    http_host: str = Field("127.0.0.1", description="Address that business systems call.")
    http_port: int = Field(8081, ge=0, le=65535, description="Port that they call; 0 takes a free one.")
    http_reuse_port: bool = Field(False, description="Let several processes of one machine share the port.")
    edge_tokens_file: Path = Field(
        description="The business systems' tokens and what each may do (`wam edge-token new`); read anew when changed."
    )
    edge_wait_s: float = Field(
        10.0, ge=0, le=60, description="Longest a caller waits for Meta's word before it is told 202."
    )
    edge_kafka_timeout_s: float = Field(5.0, gt=0, description="Longest wait for Kafka before 503.")
    edge_body_timeout_s: float = Field(5.0, gt=0, description="Longest time a body may take to come.")
    edge_max_in_flight: int = Field(
        2000, ge=1, description="Calls worked on or waiting at once in this process; 503 beyond."
    )
    edge_keep_days: int = Field(
        8, ge=1, le=35, description="Days for which it is known over HTTP what became of a request."
    )
