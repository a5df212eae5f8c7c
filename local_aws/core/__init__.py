"""What every service of the local AWS stands on: the protocol, the store, the context, rights, listings and tags."""
