"""What the hook needs to know of requests and urllib3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_chartmogul import __version__

if TYPE_CHECKING:
    import requests

    from airflow_provider_chartmogul.hooks._connection_settings import ConnectionSettings


def new_session(settings: ConnectionSettings) -> requests.Session:
    """Return a session that authenticates and keeps connections alive."""
    import requests
    from airflow import __version__ as airflow_version

    session = requests.Session()
    session.auth = (settings.api_key, "")
    session.headers["User-Agent"] = f"airflow-provider-chartmogul/{__version__} apache-airflow/{airflow_version}"
    # A proxy cannot reach this machine's loopback, and must not be shown a key that is on its way there.
    session.trust_env = not settings.is_loopback
    adapter = requests.adapters.HTTPAdapter(pool_maxsize=settings.max_concurrent_requests)
    session.mount("https://", adapter)
    session.mount("http://", adapter)
    return session


def retry_after(response: requests.Response) -> float | None:
    """Return the seconds that an answer asks to wait, if it does."""
    from urllib3 import Retry
    from urllib3.exceptions import InvalidHeader

    try:
        return Retry().get_retry_after(response.raw)
    except (InvalidHeader, OverflowError, ValueError):  # a date or number beyond all bounds
        return None


def failed_to_connect(error: Exception) -> bool:
    """Tell whether no connection came about, so that nothing can have been received."""
    from requests import ConnectTimeout
    from urllib3.exceptions import NewConnectionError

    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, ConnectTimeout) or isinstance(reason, NewConnectionError)


def root_cause(error: BaseException) -> str:
    """Return what the operating system, or the innermost library, said."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
