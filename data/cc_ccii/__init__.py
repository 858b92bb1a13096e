"""CC-CCII: scans of NCP, CP and normal controls, as pictures."""
