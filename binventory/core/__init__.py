"""What every folder here uses: the connection, names, failures and the journal of a command."""
