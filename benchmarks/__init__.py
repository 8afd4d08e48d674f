"""The benchmark: mmclf against a plain loop."""
