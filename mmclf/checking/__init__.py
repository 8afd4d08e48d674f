"""The data doctor: what is wrong with a table and its pictures before anything is trained on them.

It knows neither MLflow nor models: a catalogue goes in, findings and the figures behind them come out.
"""
