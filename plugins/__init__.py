"""Plug-ins that come with sdabn, registered in ``setup.cfg`` exactly as a third party's would be."""
