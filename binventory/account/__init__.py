"""What an AWS account holds that bills or could run, with its price and the command that removes it."""
