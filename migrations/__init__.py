"""Alembic's history of the ledger."""
