"""World models over patch features: DINO-WM and jepa-wms."""
