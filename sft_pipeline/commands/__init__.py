"""The commands by what they concern; `cli.py` assembles them, `common.py` holds what they share."""
