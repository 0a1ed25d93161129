"""How `swift` is trained: clips set in motion on the device, one loop, exact resume. Not imported at run time."""
