"""Training on an EC2 spot instance: its plan, its start, its price and its result."""
