"""What the image adds to MLflow: the gate that its server waits behind."""
