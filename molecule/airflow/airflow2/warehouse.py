"""Sub-DAGs and contrib, which are gone."""

from datetime import datetime

from airflow import DAG
from airflow.contrib.operators.gcs_to_bq import GoogleCloudStorageToBigQueryOperator
from airflow.operators.subdag import SubDagOperator

with DAG("warehouse", start_date=datetime(2024, 1, 1), schedule="@daily") as dag:
    load = GoogleCloudStorageToBigQueryOperator(
        task_id="load", bucket="b", source_objects=["o"], destination_project_dataset_table="d.t")
    SubDagOperator(task_id="section", subdag=DAG("warehouse.section", start_date=datetime(2024, 1, 1))) >> load
