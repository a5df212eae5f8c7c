"""What every folder uses: the connection to AWS, names, failures, and the journal of a command."""
