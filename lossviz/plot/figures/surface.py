"""What `--figure surface` draws of a scan: a plane in three ways, or a line."""

from lossviz.plot.figure import FigureGroup
from lossviz.plot.figures import contour, heatmap, line, surface_3d
from lossviz.plot.needs import Scans

FIGURE = FigureGroup("surface", Scans(), (contour.FIGURE, heatmap.FIGURE, surface_3d.FIGURE, line.FIGURE))
