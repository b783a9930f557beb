"""Configuration of Airflow 2's web server: full access without login, as in our Airflow 3."""

AUTH_ROLE_PUBLIC = "Admin"
