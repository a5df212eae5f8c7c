"""The network stack: private subnets and endpoints."""
