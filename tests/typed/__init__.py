"""A small project as somebody writes it who checks types strictly; ``make types`` does, and pyright in test_typed."""
