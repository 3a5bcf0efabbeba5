"""What runs without being asked: a schedule, sensors, the end of dead runs, and a notice of failures.

Everything that could spend device time is off until it is switched on in the UI, and asks for nothing that was asked for
already, by the content that it is about. See docs/how-to/automation.md. Concepts:
https://docs.dagster.io/guides/automate
"""
