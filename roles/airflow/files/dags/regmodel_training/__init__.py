"""Training of RegModel: fit, log, register, and promote if not worse.

Plain Python on scikit-learn and MLflow, without an orchestrator; `python -m regmodel_training --help` runs it alone.
The heavy libraries are imported when they are needed, after MLflow's time limits are set.
"""

from regmodel_training.promotion import promote
from regmodel_training.settings import Settings
from regmodel_training.training import train

__all__ = ["Settings", "promote", "train"]
