"""
Report an export to Airflow's hook lineage, which OpenLineage reads.

``ObjectStoragePath`` reports files that are opened through it, with the connection in their address, and before anybody
knows whether they are complete. Exports write through the file system below it, and report what they wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow_provider_chartmogul.transfers._atomic import is_local, local_path

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook

_SAFE = "/!$&'()*+,;=:@"  # characters that need no percent-encoding in a path


class ExportLineage:
    """
    A list as input and a file as output.

    :param hook: the hook that reads the list; its connection stands for the account
    :param endpoint: path below ``/v1`` of the list
    :param path: the file
    """

    def __init__(self, hook: ChartMogulHook, endpoint: str, path: ObjectStoragePath) -> None:
        from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector

        # Airflow's first look-up of the collector imports modules of other providers, which takes a while.
        self._collector = get_hook_lineage_collector()
        self._hook = hook
        self._input = f"chartmogul://{urlsplit(hook.host).netloc}/{hook.chartmogul_conn_id}/{endpoint}"
        self._output = uri_of(path)

    def report(self) -> None:
        """Report both to Airflow; if it refuses, log that, since the file is complete."""
        try:
            self._collector.add_input_asset(self._hook, uri=self._input)
            self._collector.add_output_asset(self._hook, uri=self._output)
        except Exception as error:  # noqa: BLE001
            self._hook.log.warning("Airflow does not take the lineage of %s: %s", self._output, error)


def uri_of(path: ObjectStoragePath) -> str:
    """Return the address of a file, without the connection."""
    # Airflow refuses an address that is not ASCII.
    if is_local(path):
        return f"file://{quote(str(local_path(path)), _SAFE)}"
    return f"{path.protocol}://{quote(path.path.lstrip('/'), _SAFE)}"


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """
    Check the address of a list, ``chartmogul://<host>/<connection>/<endpoint>``, for Airflow.

    :raises ValueError: if it is not one
    """
    if not uri.netloc or not uri.path.strip("/"):
        raise ValueError("expected chartmogul://<host>/<connection>/<endpoint>")
    return uri


def convert_asset_to_openlineage(asset: Any, _context: object) -> Any:
    """Return the OpenLineage dataset of a list."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    uri = urlsplit(asset.uri)
    return Dataset(namespace=f"{uri.scheme}://{uri.netloc}", name=uri.path.lstrip("/"))
