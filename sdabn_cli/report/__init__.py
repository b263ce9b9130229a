"""Reports for people: one HTML file with tables, charts and pictures, which loads nothing.

``content`` says what a report may hold, as plain data; ``page`` makes the file of it. ``measured``,
``processed`` and ``reproduced`` are the reports of evaluations, runs and reproductions; ``looking``
and ``glance`` make their pictures.
"""
