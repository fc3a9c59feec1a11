# cython: language_level=3
"""For other Cython modules: ``from flowclass.engine cimport Classifier, ForwardingTable``; structs.pxd has the structs."""

from flowclass.engine.classifier cimport Classifier
from flowclass.engine.forwarding cimport Decision, ForwardingTable, check_status
from flowclass.engine.packets cimport Fragments
