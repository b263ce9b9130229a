"""Reports for people: one HTML file with tables, charts and pictures, which loads nothing.

``content`` says what a report may hold, as plain data; ``page`` makes the file of it. ``measured``
and ``processed`` are the reports of evaluations and of runs, ``looking`` and ``glance`` their
pictures.
"""
