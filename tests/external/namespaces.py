"""Network namespaces: hosts on one machine. They need root and iproute2."""

import os
import shutil
import subprocess


def ip(*args):
    subprocess.run(["ip", *map(str, args)], check=True)


def missing():
    """Why there can be none here, if so."""
    if not shutil.which("ip"):
        return "there is no program ip here"
    probe = f"wsplice-{os.getpid()}-probe"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode:
        return f"no network namespaces here ({made.stderr.strip()})"
    ip("netns", "delete", probe)
    return None


class Namespaces:
    """Namespaces that are laid out on entry, and deleted on exit."""

    def spaces(self):
        """The names of all."""
        raise NotImplementedError

    def lay_cables(self):
        """Lays the cables, once there are all namespaces with their loopback devices."""
        raise NotImplementedError

    def __enter__(self):
        try:
            for name in self.spaces():
                ip("netns", "add", name)
                ip("-n", name, "link", "set", "dev", "lo", "up")
            self.lay_cables()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for name in self.spaces():
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)
