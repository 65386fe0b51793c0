"""Calculations in prose: found, evaluated exactly, grounded; traces and plans of calculations judged."""
