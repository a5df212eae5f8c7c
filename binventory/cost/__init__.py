"""What it costs, before it runs: prices from a dated table, quantities from the synthesized templates."""
