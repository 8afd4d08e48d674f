"""The machine and the process: device, precision, processes, progress, speed, seeds."""
