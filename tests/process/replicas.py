"""Masters and those that follow them, for tests: made, and waited for."""

from cutting_proxy import CuttingProxy
from harness import FreshInstanceCase, wait_for
from leftovers import end_processes_of, remove_shared_memory
from wire import WireClosed, decode

LINK_SECONDS = 30


def info(wire, section="replication"):
    text = decode(wire.command("INFO", section)).decode()
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def digest(wire):
    return decode(wire.command("DEBUG", "DIGEST"))


def said(instance):
    """What its md_repl has logged."""
    return "".join(path.read_text(errors="replace") for path in (instance.folder / "log").glob("md_repl*"))


def lose_memory(instance):
    folder = instance.shm_folder()
    end_processes_of(instance.folder)
    remove_shared_memory(folder)


class ReplicaCase(FreshInstanceCase):
    def server(self, **settings):
        return self.start(io=1, **{"enable_debug_command": "yes", "proto_max_bulk_len": "512mb", "repl_timeout": 5, "repl_ping_replica_period": 1, **settings})

    def follower(self, master, port=None, **settings):
        return self.server(replicaof="127.0.0.1 %d" % (port or master.port), **settings)

    def proxy(self, master):
        proxy = CuttingProxy(master.address)
        self.addCleanup(proxy.close)
        return proxy

    def started(self, writers):
        """They write until the test ends them, or ends."""
        for writer in writers:
            writer.start()
            self.addCleanup(writer.stop)
        return writers

    def syncs(self, server):
        """Full and partial ones, of those who follow it."""
        with server.wire() as wire:
            found = info(wire, "stats")
            return int(found["sync_full"]), int(found["sync_partial_ok"])

    def wait_linked(self, instance):
        def linked():
            try:
                with instance.wire() as wire:
                    return info(wire)["master_link_status"] == "up"
            except (WireClosed, ConnectionError, AttributeError, KeyError):     # md is loading, or another one begins
                return False
        wait_for(linked, LINK_SECONDS, "the follower to be linked")

    def wait_same(self, master, *followers):
        """Until all have what the master has; the data is to hold still meanwhile. The records that say the checksum move the master's number."""
        with master.wire(timeout=30) as wire:
            wanted = digest(wire)
        for follower in followers:
            def caught_up(follower=follower):
                with master.wire(timeout=30) as wire, follower.wire(timeout=30) as other:
                    return info(other).get("slave_repl_offset") == info(wire)["master_repl_offset"]
            wait_for(caught_up, LINK_SECONDS, "the follower to have everything")
            with follower.wire(timeout=30) as wire:
                self.assertEqual(digest(wire), wanted, "follower %d, %s, %s" % (followers.index(follower), follower.folder, self.id()))
