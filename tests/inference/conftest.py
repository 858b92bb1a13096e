"""The model and the scans that tests of this folder ask for."""

from tests.inference.folders import model as model
from tests.inference.folders import scans as scans
