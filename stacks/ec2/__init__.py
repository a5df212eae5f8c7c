"""The EC2 stack: training on one spot instance."""
