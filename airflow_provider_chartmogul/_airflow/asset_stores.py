"""The state stores of the assets that a trigger watches, which Airflow has from 3.3 on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors

log = logging.getLogger(__name__)


def stores_by_asset(stores: AssetStateStoreAccessors | None) -> dict[str, Any]:
    """
    Return the store of each watched asset by the asset's name or URI, in their order.

    Triggers that are alike share one trigger of all their assets. Airflow's own mapping then wants to be told which
    asset is meant, but does not say in public which there are.

    :param stores: a trigger's ``asset_state_store``; None: Airflow has none
    :return: for each name an object with ``get``, ``set`` and ``delete``
    """
    if stores is None:
        return {}
    try:
        return dict(sorted({**stores._by_name, **stores._by_uri}.items()))  # noqa: SLF001  # see above
    except AttributeError:
        log.warning("This Airflow does not tell a trigger its assets; with more than one, snapshots are not stored.")
        return {"": stores}
