"""The code that MLflow keeps with a model and runs to load it."""

from mlflow.models import set_model

from mmclf.records.serving import ProductModel

set_model(ProductModel())
