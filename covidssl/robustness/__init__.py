"""How an answer changes with the scan: four idioms, after Robustness Gym (Goel et al. 2021)."""
