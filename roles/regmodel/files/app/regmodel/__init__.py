"""RegModel: a regression model behind HTTP, always the version that an MLflow registry alias points to.

Run it with ``python -m regmodel``: one process, one uvicorn worker. More replicas, not more workers: each process
follows the alias by itself and keeps one model in memory.
"""

__version__ = "1.0.0"
