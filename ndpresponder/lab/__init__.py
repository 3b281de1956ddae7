"""A KVM VPS made of network namespaces, for the demo, the tests and the benchmarks alike."""

from ndpresponder.lab.daemon import Daemon
from ndpresponder.lab.filters import FILTERS
from ndpresponder.lab.namespace import Namespace
from ndpresponder.lab.topology import Lab, Ping, wait_until
from ndpresponder.lab.watch import Advertisement, AdvertisementWatch

__all__ = ["FILTERS", "Advertisement", "AdvertisementWatch", "Daemon", "Lab", "Namespace", "Ping", "wait_until"]
