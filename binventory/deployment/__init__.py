"""The CDK command line, and the review of what a deployment would lose."""
