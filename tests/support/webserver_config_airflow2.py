"""What the web server of Airflow 2 reads: who did not log in may do everything, as in our Airflow 3."""

AUTH_ROLE_PUBLIC = "Admin"
