"""Rows, files and the transactions over them. SQLAlchemy stays inside; dataclasses of the domain leave."""
