"""What an AWS account holds that bills or could run: listed, told whose it is, priced, with the way to remove it."""
