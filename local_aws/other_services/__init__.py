"""What ministack's other services lack: alarms by dimension and period, spent budgets, EC2 instances that run."""
