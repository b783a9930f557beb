"""Apache Airflow provider for ChartMogul."""

__version__ = "0.2.0"
