"""Binventory: counts the items in a warehouse bin from its photo. What people type, and what it needs."""
