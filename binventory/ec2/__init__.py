"""Training on an EC2 spot instance: what is asked of the machine, its start, and what becomes of it."""
