"""What the local AWS does beyond SageMaker, in addition to ministack: alarms, budgets, EC2 machines."""
