"""Imaging jobs: durable, one way of working for all back ends; each back end is a gateway of named steps."""
