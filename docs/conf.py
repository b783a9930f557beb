"""How Sphinx builds these pages, and the reference from the docstrings: ``make docs``."""  # noqa: INP001  # Sphinx's

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_provider_chartmogul import __version__

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "airflow-provider-chartmogul"
version = release = __version__
root_doc = "index"
exclude_patterns = ["README.md"]  # what index.rst is here, on GitHub
extensions = ["myst_parser", "sphinx.ext.autodoc"]
html_theme = "alabaster"
html_theme_options = {"description": "ChartMogul CRM in Apache Airflow", "page_width": "1100px"}
html_copy_source = False
myst_heading_anchors = 3
# References to public names of this package have to lead somewhere; others are not part of these pages.
nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r"(?!airflow_provider_chartmogul\.).*|airflow_provider_chartmogul\.(.+\.)?_.*")]
autodoc_member_order = "bysource"
toc_object_entries = False

_PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
_FILES = f"{_PROJECT['urls']['source']}/blob/main/"


def setup(app: Sphinx) -> None:
    """Let links to files that are not part of these pages lead to the repository."""
    app.connect("source-read", lambda _app, _name, content: _link_to_repository(content))


def _link_to_repository(content: list[str]) -> None:
    content[0] = content[0].replace("](../", f"]({_FILES}")
