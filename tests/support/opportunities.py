"""Opportunities for the operators' tests."""

from __future__ import annotations

from typing import Any

CUSTOMER = "cus_6dc2f92e-0000-4000-8000-3f8ab7a1c0de"
NEW: dict[str, Any] = {
    "customer_uuid": CUSTOMER,
    "owner": "ada@example.com",
    "pipeline": "New Business",
    "pipeline_stage": "Discovery",
    "estimated_close_date": "2030-01-31",
    "amount_in_cents": 120_000,
    "currency": "EUR",
    "custom": {"source": "product", "seats": 3},
}
"""An opportunity to create, which the sandbox stores unchanged."""
