"""The known errors that `app.host.explain` reads: data, a file for each group."""
