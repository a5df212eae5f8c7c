"""The CDK command line, and what a deployment would lose."""
