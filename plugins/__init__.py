"""Plug-ins that come with sdabn, registered in ``setup.cfg`` as a third party's would be."""
