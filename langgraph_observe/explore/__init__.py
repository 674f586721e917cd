"""Stored runs -> eyes. The read side; the write side never imports it."""
