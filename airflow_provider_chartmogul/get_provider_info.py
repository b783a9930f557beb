"""The provider's metadata, which Airflow reads at startup. Imports nothing, so that it is cheap and cannot fail."""


def get_provider_info() -> dict[str, object]:
    """Return the provider's metadata in the form of Airflow's ``provider_info`` schema."""
    return {
        "package-name": "airflow-provider-chartmogul",
        "name": "ChartMogul",
        "description": "`ChartMogul <https://chartmogul.com/>`__ CRM: opportunities in DAGs.",
        "integrations": [
            {
                "integration-name": "ChartMogul",
                "external-doc-url": "https://dev.chartmogul.com/reference/opportunities",
                "tags": ["service"],
            }
        ],
        "hooks": [
            {
                "integration-name": "ChartMogul",
                "python-modules": ["airflow_provider_chartmogul.hooks.chartmogul"],
            }
        ],
        "operators": [
            {
                "integration-name": "ChartMogul",
                "python-modules": ["airflow_provider_chartmogul.operators.opportunity"],
            }
        ],
        "sensors": [
            {
                "integration-name": "ChartMogul",
                "python-modules": ["airflow_provider_chartmogul.sensors.opportunity"],
            }
        ],
        "triggers": [
            {
                "integration-name": "ChartMogul",
                "python-modules": ["airflow_provider_chartmogul.triggers.opportunity"],
            }
        ],
        "transfers": [
            {
                "source-integration-name": "ChartMogul",
                "target-integration-name": "Common IO",
                "python-module": "airflow_provider_chartmogul.transfers.object_storage",
            }
        ],
        # Airflow 2 calls assets datasets.
        **{
            name: [
                {
                    "schemes": ["chartmogul"],
                    "handler": "airflow_provider_chartmogul.transfers._lineage.sanitize_uri",
                    "to_openlineage_converter": (
                        "airflow_provider_chartmogul.transfers._lineage.convert_asset_to_openlineage"
                    ),
                }
            ]
            for name in ("asset-uris", "dataset-uris")
        },
        "connection-types": [
            {
                "connection-type": "chartmogul",
                "hook-class-name": "airflow_provider_chartmogul.hooks.chartmogul.ChartMogulHook",
                "hook-name": "ChartMogul",
                "ui-field-behaviour": {
                    # Not the port: the Test button of Airflow 3.3 needs one, and sends 0 for a hidden field.
                    "hidden-fields": ["login", "schema"],
                    "relabeling": {"password": "API key"},
                    "placeholders": {
                        "host": "https://api.chartmogul.com",
                        "password": "made by a user with a CRM seat",
                        "port": "443",
                    },
                },
                "conn-fields": {
                    "timeout": {
                        "label": "Timeout",
                        "description": "Seconds after which a request without a complete response fails. Default: 30.",
                        "schema": {"type": ["integer", "null"], "minimum": 1},
                    },
                    "max_retries": {
                        "label": "Retries",
                        "description": "How often a failed request is sent again, at most. Default: 5.",
                        "schema": {"type": ["integer", "null"], "minimum": 0},
                    },
                },
            }
        ],
        "extra-links": ["airflow_provider_chartmogul.links.chartmogul.ChartMogulCustomerLink"],
    }
