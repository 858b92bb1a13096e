"""Where in a scan: the label-free lesion map and the classifier's evidence, in its own geometry."""

from covidssl.maps.planes import Planes
from covidssl.maps.scan_maps import ScanMaps, maps_of
from covidssl.maps.writing import MapFiles, write_maps

__all__ = ["MapFiles", "Planes", "ScanMaps", "maps_of", "write_maps"]
