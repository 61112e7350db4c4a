"""The loops of training, evaluation and prediction. They get objects: never a config, never a model's name."""
