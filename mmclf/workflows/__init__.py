"""One module per job: check what is given, let the core do it, record it, return the result.

The entry points and `import mmclf` call the same functions. What takes long to import (torch, MLflow) is imported in
them after the configuration and the table were checked, so that a mistake is answered at once.
"""
