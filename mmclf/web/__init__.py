"""The page of `app`: what is asked of a model in a browser, and how the answers are shown.

`product` and `uploads` read what a browser sends, `verdict`, `neighbours` and `labelling` find out what is shown,
`site` is the only module that knows HTTP, and `serving` the only one that knows its server.
"""
