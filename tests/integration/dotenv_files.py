"""Environment files as teams have them, in shape: names and notations of public projects, values made up."""

# Airflow's docker-compose.yaml beside MLflow and MinIO, by a team that names its databases alike.
AIRFLOW = """\
AIRFLOW_UID=50000
AIRFLOW_IMAGE_NAME=apache/airflow:2.9.2
AIRFLOW_PROJ_DIR=.
_AIRFLOW_WWW_USER_USERNAME=airflow
_AIRFLOW_WWW_USER_PASSWORD=airflow-hush
_PIP_ADDITIONAL_REQUIREMENTS=
AIRFLOW__CORE__LOAD_EXAMPLES=false

AIRFLOW_DB_USER=airflow
AIRFLOW_DB_PASSWORD=${_AIRFLOW_WWW_USER_PASSWORD}
AIRFLOW_DB_NAME=airflow
MLFLOW_DB_USER=mlflow
MLFLOW_DB_PASSWORD="${_AIRFLOW_WWW_USER_PASSWORD}-mlflow"
MLFLOW_DB_NAME=${MLFLOW_DATABASE:-mlflow}
"""
MINIO = """\
# MLflow with MinIO
POSTGRES_USER=mlflow
POSTGRES_PASSWORD=hush$$0451
POSTGRES_DB=mlflowdb
MLFLOW_DB_USER=${POSTGRES_USER}
MLFLOW_DB_PASSWORD=${POSTGRES_PASSWORD}
MLFLOW_DB_NAME=$POSTGRES_DB
MINIO_ROOT_USER=minio
MINIO_ROOT_PASSWORD='hush$0451'
AWS_ACCESS_KEY_ID=${MINIO_ROOT_USER}
AWS_SECRET_ACCESS_KEY=${MINIO_ROOT_PASSWORD}
MLFLOW_S3_ENDPOINT_URL=http://minio:9000
MLFLOW_BUCKET_NAME=mlflow
MLFLOW_BACKEND_STORE_URI=postgresql://${POSTGRES_USER}:${POSTGRES_PASSWORD}@db/${POSTGRES_DB}
"""
LANGFUSE = """\
NEXTAUTH_URL=http://localhost:3000
NEXTAUTH_SECRET=${NEXTAUTH_SECRET:-mysecret}
SALT="${SALT:-mysalt}"
ENCRYPTION_KEY=0000 # generate via `openssl rand -hex 32`
DATABASE_URL=postgresql://postgres:${POSTGRES_PASSWORD:-postgres}@postgres:5432/${POSTGRES_DB:-postgres}
CLICKHOUSE_MIGRATION_URL=${CLICKHOUSE_MIGRATION_URL-clickhouse://clickhouse:9000}
LANGFUSE_S3_EVENT_UPLOAD_PREFIX=${PREFIX:-events/}${PREFIX:+/}
REDIS_AUTH=${REDIS_AUTH:-${POSTGRES_PASSWORD:-myredissecret}}
LANGFUSE_LOG_LEVEL="info"
TELEMETRY_ENABLED=${TELEMETRY_ENABLED:-true}
TELEMETRY_ENABLED=false
"""
DJANGO = """\
export DJANGO_SETTINGS_MODULE=config.settings.production
DJANGO_SECRET_KEY='django-insecure-$a#b(c)%^&*'
DJANGO_ALLOWED_HOSTS=.example.com,localhost
DJANGO_DEBUG=False
DATABASE_URL="postgres://django:pa\\$word@db:5432/django"
EMAIL_URL=
GREETING="one\\ttwo \\"three\\" \\\\ four"
PRIVATE_KEY="-----BEGIN PRIVATE KEY-----
hush0451
-----END PRIVATE KEY-----"
CELERY_BROKER_URL=redis://redis:6379/0
"""
ALL = {"airflow": AIRFLOW, "minio": MINIO, "langfuse": LANGFUSE, "django": DJANGO}
