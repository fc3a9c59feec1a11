# cython: language_level=3
"""For other Cython modules: ``from flowclass.engine cimport Classifier, ForwardingTable``."""

from flowclass.engine.classifier cimport Classifier
from flowclass.engine.forwarding cimport Decision, ForwardingTable
