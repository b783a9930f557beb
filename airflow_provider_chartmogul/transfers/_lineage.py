"""
Report an export to Airflow's hook lineage, which OpenLineage reads.

``ObjectStoragePath`` reports a file when it is opened, with the connection in its address and before it is complete.
Exports write through the underlying file system instead, and report the completed file.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from airflow_provider_chartmogul.transfers._atomic import is_local

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from airflow.providers.common.compat.sdk import ObjectStoragePath

    from airflow_provider_chartmogul.hooks.chartmogul import ChartMogulHook

_SAFE = "/!$&'()*+,;=:@"  # characters that need no percent-encoding in a path


class ExportLineage:
    """
    A list as input and a file as output.

    :param hook: the hook that reads the list; its connection identifies the account
    :param endpoint: path below ``/v1`` of the list
    :param path: the file
    """

    def __init__(self, hook: ChartMogulHook, endpoint: str, path: ObjectStoragePath) -> None:
        from airflow.providers.common.compat.lineage.hook import get_hook_lineage_collector

        # Airflow's first access to the collector imports modules of other providers, which is slow.
        self._collector = get_hook_lineage_collector()
        self._hook = hook
        self._input = f"chartmogul://{urlsplit(hook.host).netloc}/{hook.chartmogul_conn_id}/{endpoint}"
        self._output = uri_of(path)

    def report(self) -> None:
        """Report both to Airflow; log an error instead of raising it, since the file is complete."""
        try:
            self._collector.add_input_asset(self._hook, uri=self._input)
            self._collector.add_output_asset(self._hook, uri=self._output)
        except Exception as error:  # noqa: BLE001
            self._hook.log.warning("Airflow rejected the lineage of %s: %s", self._output, error)


def uri_of(path: ObjectStoragePath) -> str:
    """Return the address of a file, without the connection."""
    # Airflow rejects an address that is not ASCII.
    if is_local(path):
        return f"file://{quote(str(Path(path.path)), _SAFE)}"
    return f"{path.protocol}://{quote(path.path.lstrip('/'), _SAFE)}"


def sanitize_uri(uri: SplitResult) -> SplitResult:
    """
    Validate the address of a list, ``chartmogul://<host>/<connection>/<endpoint>``, for Airflow.

    :raises ValueError: if it has another form
    """
    if not uri.netloc or not uri.path.strip("/"):
        raise ValueError("expected chartmogul://<host>/<connection>/<endpoint>")
    return uri


def convert_asset_to_openlineage(asset: Any, _context: object) -> Any:
    """Return the OpenLineage dataset of a list."""
    from airflow.providers.common.compat.openlineage.facet import Dataset

    uri = urlsplit(asset.uri)
    return Dataset(namespace=f"{uri.scheme}://{uri.netloc}", name=uri.path.lstrip("/"))
