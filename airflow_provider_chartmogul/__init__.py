"""Apache Airflow provider for ChartMogul."""

__version__ = "0.1.0"
