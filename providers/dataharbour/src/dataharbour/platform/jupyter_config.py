"""JupyterLab's configuration. Copied beside `settings.json`, and run there by Jupyter itself.

Imports nothing of ours: the account of the notebooks may see neither the checkout nor the state
folder. In Jupyter's loader `c` is the configuration that this fills.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import time
from pathlib import Path
from typing import Any

from jupyter_server.auth.identity import IdentityProvider
from jupyter_server.services.contents.filecheckpoints import AsyncFileCheckpoints

settings = json.loads(Path(__file__).with_name("settings.json").read_text())


class Identity(IdentityProvider):  # type: ignore[misc]
    """The token as a header only, never in an address; and links that sign in once."""

    used: dict[str, float] = {}  # noqa: RUF012 - tickets of the last minute

    def get_token(self, handler: Any) -> str | None:
        """The token that a request brings, or that its ticket stands for."""
        if self.redeem(handler.get_argument("ticket", ""), time.time()):
            return str(self.token)
        match = self.auth_header_pat.match(handler.request.headers.get("Authorization", ""))
        return str(match[2]) if match else ""

    def redeem(self, ticket: str, now: float) -> bool:
        """Whether a ticket is right, not too old, and new to us."""
        what, _, proof = ticket.rpartition(".")
        right = hmac.new(str(self.token).encode(), what.encode(), hashlib.sha256).hexdigest()
        expires = what.partition(".")[0]
        if not hmac.compare_digest(proof.encode(), right.encode()) or not expires.isdigit():
            return False
        for old in [each for each, until in self.used.items() if until < now]:
            del self.used[old]
        if now > int(expires) or what in self.used:
            return False
        self.used[what] = int(expires)
        return True


class Checkpoints(AsyncFileCheckpoints):  # type: ignore[misc]
    """Beside the notebooks' folder, in which only people's own files lie."""

    def checkpoint_path(self, checkpoint_id: str, path: str) -> str:
        """Where the checkpoint of a file is kept."""
        name = Path(path.strip("/"))
        folder = Path(settings["checkpoints"], name.parent)
        with self.perm_to_403():
            folder.mkdir(parents=True, exist_ok=True)
        return str(folder / f"{name.stem}-{checkpoint_id}{name.suffix}")


c: Any = globals()["c"]

c.ServerApp.ip = "127.0.0.1"
c.ServerApp.port = settings["port"]
c.ServerApp.port_retries = 0  # a client that looks elsewhere finds a stranger
c.ServerApp.root_dir = settings["notebooks"]
c.ServerApp.open_browser = False
c.ServerApp.use_redirect_file = False
c.ServerApp.quit_button = False
c.ServerApp.terminals_enabled = False
c.ServerApp.allow_origin = ""
c.ServerApp.allow_remote_access = False  # refuses other names than localhost: DNS rebinding
c.ServerApp.identity_provider_class = Identity
c.ServerApp.jpserver_extensions = {
    "jupyterlab": True,
    "jupyter_lsp": False,
    "jupyter_server_terminals": False,
    "notebook_shim": False,
}
c.IdentityProvider.token = settings["token"]

c.ContentsManager.checkpoints_class = Checkpoints
c.FileContentsManager.delete_to_trash = False  # Jupyter asks before; a trash would only grow

# Sockets in a folder of the account; to a TCP port every user of the machine could listen.
c.KernelManager.transport = settings["transport"]
c.MappingKernelManager.cull_idle_timeout = 8 * 3600  # each holds a session of Spark's server
c.MappingKernelManager.cull_interval = 600
c.MappingKernelManager.cull_connected = True

c.LabApp.extension_manager = "readonly"
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
c.LabApp.news_url = None
c.LabApp.workspaces_dir = os.environ["JUPYTERLAB_WORKSPACES_DIR"]
c.LabApp.user_settings_dir = os.environ["JUPYTERLAB_SETTINGS_DIR"]
