"""Tests of problems from recorded rows."""
