"""What every job's script shares: its container, its settings, its archives, its traces."""
