"""Scan Airflow's files, database and processes for an API key."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import psutil
import sqlalchemy
from cryptography.fernet import Fernet, InvalidToken

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

WHERE_IT_BELONGS = "connection.password"


def forms_of(api_key: str) -> list[bytes]:
    """Return the key in clear, and its visible part in base64 at any offset."""
    key = api_key.encode()
    forms = [key]
    for before in range(3):
        encoded = base64.b64encode(b" " * before + key)
        # Six bits per character; those at both ends also depend on the bytes beside the key.
        forms.append(encoded[-(-before * 8 // 6) : (before + len(key)) * 8 // 6])
    return forms


def leaks(api_key: str, emails: Iterable[str], *, home: Path, database: str, fernet_key: str) -> list[str]:
    """
    Return the places of the key, and of email addresses in log files; none is expected.

    Opportunities name their owner, so that addresses are in XCom by design.

    :param emails: the addresses
    :param home: the ``AIRFLOW_HOME``, of which every file is read
    :param database: the SQLAlchemy URL of the metadata database, of which every value is read
    :param fernet_key: Airflow's encryption key for trigger kwargs
    """
    forms = forms_of(api_key)
    addresses = [email.encode() for email in set(emails)]
    found: set[str] = set()
    for path, content in _files(home):
        secrets = forms + (addresses if "logs" in path.relative_to(home).parts else [])
        found.update(f"{path}: {secret.decode()}" for secret in secrets if secret in content)
    for place, content in (*_values(database, Fernet(fernet_key)), *_process_arguments()):
        found.update(f"{place}: {secret.decode()}" for secret in forms if secret in content)
    return sorted(found)


def _files(home: Path) -> Iterator[tuple[Path, bytes]]:
    for path in home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield path, path.read_bytes()


def _values(database: str, fernet: Fernet) -> Iterator[tuple[str, bytes]]:
    engine = sqlalchemy.create_engine(database)
    try:
        with engine.connect() as connection:
            for table in sqlalchemy.inspect(engine).get_table_names():
                rows = connection.execute(sqlalchemy.text(f'SELECT * FROM "{table}"'))  # noqa: S608  # nobody else's
                for row in rows.mappings():
                    for column, value in row.items():
                        place = f"{table}.{column}"
                        if value is not None and place != WHERE_IT_BELONGS:
                            yield place, _in_clear(value, fernet)
    finally:
        engine.dispose()


def _in_clear(value: object, fernet: Fernet) -> bytes:
    content = bytes(value) if isinstance(value, (bytes, memoryview)) else str(value).encode()
    try:
        return fernet.decrypt(content.strip(b'"'))
    except InvalidToken:
        return content


def _process_arguments() -> Iterator[tuple[str, bytes]]:
    for process in psutil.process_iter(["pid", "cmdline"]):
        arguments = process.info["cmdline"] or []
        yield f"process {process.info['pid']}", "\0".join(arguments).encode(errors="surrogateescape")
