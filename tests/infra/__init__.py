"""What is in infra/, held against schemas, linters and real servers: `make test-infra`, which fetches the tools."""

from pathlib import Path

INFRA = Path(__file__).resolve().parents[2] / "infra"
ROOT = INFRA.parent
