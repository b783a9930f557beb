"""The state stores of the assets that a trigger watches; Airflow has them since 3.3."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk.execution_time.context import AssetStateStoreAccessors

log = logging.getLogger(__name__)


def stores_by_asset(stores: AssetStateStoreAccessors | None) -> dict[str, Any]:
    """
    Return the store of each watched asset by the asset's name or URI, in their order.

    Airflow merges equal triggers into one that serves all their assets. The store then has to be indexed by asset, but
    Airflow has no public list of these assets.

    :param stores: a trigger's ``asset_state_store``; None: Airflow has none
    :return: for each name an object with ``get``, ``set`` and ``delete``
    """
    if stores is None:
        return {}
    try:
        return dict(sorted({**stores._by_name, **stores._by_uri}.items()))  # noqa: SLF001  # see above
    except AttributeError:
        log.warning("This Airflow does not expose a trigger's assets; with more than one, snapshots are not stored.")
        return {"": stores}
