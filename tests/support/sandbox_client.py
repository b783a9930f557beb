from __future__ import annotations

from typing import TYPE_CHECKING, Any

import requests

if TYPE_CHECKING:
    from airflow_provider_chartmogul.sandbox import Sandbox

TIMEOUT = 10


class Client:
    """A plain HTTP client, independent of this package's own."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.session = requests.Session()
        self.session.auth = (sandbox.api_key, "")

    def send(self, method: str, path: str, **options: Any) -> requests.Response:
        options.setdefault("timeout", TIMEOUT)
        options.setdefault("allow_redirects", False)
        return self.session.request(method, self.sandbox.url + path, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.send("GET", path, **options)

    def create(self, **body: Any) -> requests.Response:
        return self.send("POST", "/v1/opportunities", json=body)

    def update(self, uuid: str, **body: Any) -> requests.Response:
        return self.send("PATCH", f"/v1/opportunities/{uuid}", json=body)

    def walk(self, **params: Any) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        while True:
            page = self.get("/v1/opportunities", params=params).json()
            entries += page["entries"]
            if not page["has_more"]:
                return entries
            params["cursor"] = page["cursor"]
