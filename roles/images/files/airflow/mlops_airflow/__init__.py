"""What this image adds to Airflow: waiting for its database, initialising it, and cheap health checks."""
