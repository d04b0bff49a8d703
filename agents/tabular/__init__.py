"""Agents with a table instead of a network: one row of numbers for each prefix that they have met."""
