"""The inventories that the render tests share: one host, and three."""

from stack_plays import NAME, ODD

DISCORD = "https://discord.example/api/webhooks/1/hush"
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
GROUPS = ("infra", "mlflow", "regmodel", "airflow", "airflow_worker", "monitoring")
ONE = {"hosts": {"one": LOCAL}, "children": {group: {"hosts": {"one": {}}} for group in GROUPS},
       # As from a command line: a string.
       "vars": {"with_monitoring": "true"}}
THREE = {
    "hosts": {f"h{number}": {**LOCAL, "mlops_address": f"10.0.0.{number}"} for number in (1, 2, 3)},
    "children": {"infra": {"hosts": {"h1": {}}}, "airflow": {"hosts": {"h1": {}}}, "mlflow": {"hosts": {"h2": {}}, "vars": {}},
                 "regmodel": {"hosts": {"h2": {}}}, "airflow_worker": {"hosts": {"h2": {"airflow_worker_queues": ["default", "gpu"]}, "h3": {}}},
                 "monitoring": {"hosts": {"h2": {}}}},
    "vars": {"infra_postgres_port": 15432, "with_monitoring": "true", "monitoring_discord_webhook_url": DISCORD,
             "monitoring_webhook_url": "https://hook.example/hush", "monitoring_email_to": "team@example.org", "monitoring_smtp_smarthost": "mail:25",
             "monitoring_smtp_username": NAME, "monitoring_smtp_password": "hush",
             "airflow_admin_username": NAME, "airflow_flower_username": NAME, "monitoring_username": NAME, "mlflow_admin_username": NAME,
             "infra_postgres_environment": ODD, "monitoring_environment": {"prometheus": ODD}},
}
