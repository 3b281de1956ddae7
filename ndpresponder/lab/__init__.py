"""A KVM VPS made of network namespaces, for the demo, the tests and the benchmarks alike."""

from ndpresponder.lab.filters import FILTERS
from ndpresponder.lab.namespace import Namespace
from ndpresponder.lab.topology import Lab, Ping, wait_until

__all__ = ["FILTERS", "Lab", "Namespace", "Ping", "wait_until"]
