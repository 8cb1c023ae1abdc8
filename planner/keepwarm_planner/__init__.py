"""Fit, cold-start budget, sizing, simulation and cost before anything is deployed."""
