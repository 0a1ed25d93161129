"""Adds the network `faulty` to the registry when that is imported. Loaded by every Python process that finds it."""

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec


class _Registry(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "vsr_model.registry":
            return None
        sys.meta_path.remove(self)
        spec = find_spec(name)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            from network import entry

            module._BUILT_IN["faulty"] = entry

        spec.loader.exec_module = exec_module
        return spec


if "REMASTER_TEST_FAULTS" in os.environ:
    sys.meta_path.insert(0, _Registry())
