"""Airflow's private mapping of the assets that a trigger watches."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_chartmogul._airflow.asset_stores import stores_by_asset
from tests.support.airflow_versions import HAS_TASK_STATE_STORE


@pytest.mark.skipif(not HAS_TASK_STATE_STORE, reason="Airflow has asset state stores from 3.3 on")
def test_this_airflow_keeps_the_assets_of_a_trigger_where_the_package_reads_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    from airflow.sdk import Asset
    from airflow.sdk.definitions.asset import AssetUriRef
    from airflow.sdk.execution_time.context import AssetStateStoreAccessor, AssetStateStoreAccessors

    first, second = Asset("won"), Asset("lost")
    accessors = AssetStateStoreAccessors(inlets=[first, second, AssetUriRef("s3://bucket/file")])
    stores = stores_by_asset(accessors)
    assert list(stores) == ["lost", "s3://bucket/file", "won"], (
        "Airflow renamed _by_name or _by_uri: mend _airflow/asset_stores.py, or watchers that share a trigger "
        "store no snapshot."
    )
    assert stores["won"] is accessors[first]
    assert all(isinstance(store, AssetStateStoreAccessor) for store in stores.values())
    assert all(hasattr(AssetStateStoreAccessor, method) for method in ("get", "set", "delete"))
    assert not caplog.records


def test_without_a_store_there_is_none() -> None:
    assert stores_by_asset(None) == {}


def test_an_airflow_that_renamed_them_leaves_the_store_of_an_only_asset(caplog: pytest.LogCaptureFixture) -> None:
    renamed: Any = object()
    assert list(stores_by_asset(renamed).values()) == [renamed]
    assert "does not expose a trigger's assets" in caplog.text
